"""Places and releases legal holds for operators: one swap of the tenant's state, without any event."""

from __future__ import annotations

from pydantic import Field

from producers.commands.audited import entered
from producers.commands.requests import random_id
from schemas.base.identifiers import Sha256Hex
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects import object_keys
from schemas.tenant.holds import LegalHold
from tenancy.audit.log import AuditRecord, Facts
from tenancy.bootstrap import Tenancy
from tenancy.state import legal_holds
from tenancy.state.registry import Change
from tenancy.tenant_id import TenantId

PLACED = "hold.placed"


class PlacedHold(LegalHold):
    """A hold as the answer to who placed it."""

    too_late_for: tuple[Sha256Hex, ...] = Field(
        default=(), description="adapters whose weights it does not keep: erased, or decided to be, before it"
    )


async def place(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    reason_code: str,
    placed_by: str,
    hold_id: str | None = None,
) -> PlacedHold:
    """Place a hold and return it; with the id of one that is open, again is no change.

    Raises :class:`UnknownTenant`, :class:`~tenancy.state.legal_holds.TooLateToHold`, :class:`Refused` for an id in use,
    and :class:`~producers.commands.audited.NotAudited`.
    """
    hold = LegalHold(
        hold_id=hold_id or f"hold-{random_id()}",
        reason_code=reason_code,
        placed_by=placed_by,
        placed_at=tenancy.clock(),
    )
    placed = await _swapped(tenancy, tenant, legal_holds.placed(hold), hold.hold_id)
    await _entered(tenancy, tenant, placed, PLACED, placed.placed_by)
    # Looked for after the swap: what is being erased then is named by the hold, what is over is found gone.
    gone = await _without_weights(tenancy, tenant)
    return PlacedHold(**placed.model_dump(), too_late_for=tuple(sorted({*placed.erasures_decided, *gone})))


async def release(tenancy: Tenancy, tenant: TenantId, hold_id: str, *, released_by: str) -> LegalHold:
    """Release one hold and return it; again is no change. Raises :class:`UnknownTenant`, :class:`Refused` and
    :class:`~producers.commands.audited.NotAudited`.
    """
    released = await _swapped(tenancy, tenant, legal_holds.released(hold_id, released_by, tenancy.clock()), hold_id)
    await _entered(tenancy, tenant, released, "hold.released", released.released_by or released_by)
    return released


async def _entered(tenancy: Tenancy, tenant: TenantId, hold: LegalHold, kind: str, by: str) -> None:
    facts: Facts = {"hold_id": hold.hold_id, "reason_code": hold.reason_code}
    if kind == PLACED:
        facts |= {f"too_late_for_{number}": digest for number, digest in enumerate(hold.erasures_decided, start=1)}
        if hold.texts_being_erased:
            facts["texts_being_erased"] = hold.texts_being_erased
    record = AuditRecord(
        occurrence=event_id(kind, tenant, hold.hold_id),
        kind=kind,
        time=tenancy.clock(),
        actor=Actor(role="operator", id=by),
        facts=facts,
        recorded_while=(await tenancy.states.read(tenant)).state.status,
    )
    await entered(tenancy, tenant, record, f"{hold.hold_id} is {kind.partition('.')[2]}")


async def _swapped(tenancy: Tenancy, tenant: TenantId, change: Change, hold_id: str) -> LegalHold:
    state = (await tenancy.states.swap(tenant, change)).state
    return next(hold for hold in state.holds if hold.hold_id == hold_id)


async def _without_weights(tenancy: Tenancy, tenant: TenantId) -> list[str]:
    """The published adapters whose weights are gone. Their names tell: a manifest is put last, and stays."""
    prefix = object_keys.tenant_area(tenant, "adapters")
    files: dict[str, set[str]] = {}
    async for key in tenancy.objects.keys(prefix):
        digest, _, file = key.removeprefix(prefix).partition("/")
        files.setdefault(digest, set()).add(file)
    return [
        digest
        for digest, names in files.items()
        if object_keys.ADAPTER_MANIFEST in names and object_keys.ADAPTER_WEIGHTS not in names
    ]
