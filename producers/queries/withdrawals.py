"""Shows operators the withdrawals: affected adapters, what happened to them, and the signed receipts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from producers.queries.parts import part_of
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.objects import object_keys
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused, SealBroken
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId


class WithdrawalView(Contract):
    """One withdrawal. ``remaining_seconds`` until the affected adapters must be retired; absent when closed."""

    withdrawal_id: OpaqueId
    of: str
    withdrawn_at: datetime
    step: str
    outcome: str | None
    affected: tuple[Sha256Hex, ...]
    replacement: Sha256Hex | None
    run_id: OpaqueId | None
    remaining_seconds: float | None


@dataclass(frozen=True)
class Withdrawals:
    """``unreadable``: the ids of those whose record does not open, or was written by a newer release. ``following``:
    the place behind which there are more; None at the end.
    """

    views: list[WithdrawalView]
    unreadable: list[str]
    following: str | None


async def withdrawals(tenancy: Tenancy, tenant: TenantId, *, behind: str = "", most: int | None = None) -> Withdrawals:
    """The withdrawals of the tenant behind a place, the open ones first, at most so many; of these the earliest first.

    Raises :class:`UnknownTenant`, :class:`KeyDestroyed`.
    """
    await tenancy.states.read(tenant)
    store = await tenancy.store(tenant)
    now = tenancy.clock()
    part = await part_of(_names(store, f"{object_keys.WITHDRAWALS}{behind}" if behind else ""), most)

    unreadable: list[str] = []

    async def read(relative: str) -> WithdrawalRecord | None:
        try:
            return (await store.get_record(relative, WithdrawalRecord))[0]
        except ObjectNotFound:
            return None  # closed since it was listed
        except (SealBroken, ValidationError):
            unreadable.append(relative.rpartition("/")[2])
            return None

    records = {record.withdrawal_id: record for record in await gathered(map(read, part.names)) if record is not None}
    views = [_view(record, now) for record in records.values()]
    views.sort(key=lambda view: (view.step == "closed", view.withdrawn_at))
    following = part.following.removeprefix(object_keys.WITHDRAWALS) if part.following else None
    return Withdrawals(views, sorted(unreadable), following)


async def _names(store: TenantStore, behind: str) -> AsyncIterator[str]:
    """Open ones first: one that is closed in between is then seen twice, and not missed."""
    if not behind.startswith(object_keys.closed_withdrawal("")):
        async for relative in store.list("withdrawals", "open", after=behind):
            yield relative
        behind = ""
    async for relative in store.list("withdrawals", "closed", after=behind):
        yield relative


def _view(record: WithdrawalRecord, now: datetime) -> WithdrawalView:
    is_waiting = record.step == "open" and bool(record.affected)
    return WithdrawalView(
        withdrawal_id=record.withdrawal_id,
        of=f"consent {record.consent_id}" if record.consent_id else f"example {record.example_id}",
        withdrawn_at=record.withdrawn_at,
        step=record.step,
        outcome=record.outcome,
        affected=record.affected,
        replacement=record.replacement,
        run_id=record.run_id,
        remaining_seconds=(record.deadline - now).total_seconds() if is_waiting else None,
    )


async def withdrawal_receipt(tenancy: Tenancy, tenant: TenantId, withdrawal_id: str) -> bytes:
    """The signed receipt, as it stands. Raises :class:`Refused` when there is none."""
    store = await tenancy.store(tenant)
    try:
        return (await store.get(object_keys.withdrawal_receipt(withdrawal_id)))[0]
    except ObjectNotFound:
        raise Refused("no-receipt", f"refused: {withdrawal_id} is not closed; see `sano withdrawals`") from None
