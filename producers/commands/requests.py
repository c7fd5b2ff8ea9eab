"""Requests work for operators. A command is an event, or one swap of the tenant's state; consumers do the rest."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from schemas.bus.events import ExportRequested, PurgeRequested, TenantChurned, TrainingRequested
from schemas.bus.outcome import Outcome
from schemas.objects.state import AdapterState, CanaryState, TenantState, oldest_first
from tenancy.bootstrap import Tenancy
from tenancy.errors import ContendedState, Refused
from tenancy.state import activation
from tenancy.state.archive import Archive
from tenancy.state.open_work import announce
from tenancy.state.registry import Change, require_active
from tenancy.storage.cas_record import ATTEMPTS, CONTENDED
from tenancy.tenant_id import TenantId


def random_id() -> str:
    """64 random bits in hex."""
    return secrets.token_hex(8)


async def request_training(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    requested_by: str | None = None,
) -> str:
    """Ask for a training of what is eligible now, and return the run's id.

    Raises :class:`TenantFenced` and :class:`UnknownTenant`.
    """
    await tenancy.active(tenant)
    run_id = f"run-{random_id()}"
    requested = TrainingRequested(run_id=run_id, trigger="operator", requested_by=requested_by)
    await tenancy.outbox.publish(tenant, requested)
    return run_id


@dataclass(frozen=True)
class ActiveAdapter:
    """The adapter that is active after a command, None for the base model; and whether the command made it so."""

    digest: str | None
    outcome: Outcome
    canary: CanaryState | None = None


async def activate(
    tenancy: Tenancy,
    tenant: TenantId,
    digest: str | None = None,
    *,
    requested_by: str | None = None,
    canary_percent: int | None = None,
) -> ActiveAdapter:
    """Make a ready adapter the active one, without ``digest`` the newest that no rollback left; again is no change.
    With ``canary_percent`` it answers so many in a hundred conversations, and the active one the others.

    Raises :class:`Refused`.
    """

    def change_with(archived: AdapterState | None) -> Change:
        def change(state: TenantState) -> TenantState:
            chosen = digest or _newest(require_active(state))
            entry = tenancy.outbox.entry
            if canary_percent is not None:
                return activation.canaried(chosen, canary_percent, entry, requested_by, archived=archived)(state)
            return activation.activated(chosen, entry, requested_by, archived=archived)(state)

        return change

    return await _swapped(tenancy, tenant, digest, change_with)


def _newest(state: TenantState) -> str:
    ready = {
        digest: adapter
        for digest, adapter in state.adapters.items()
        if adapter.status == "ready" and not adapter.rolled_back
    }
    if not ready:
        raise Refused("nothing-ready", "refused: the tenant has no adapter that could be activated")
    return oldest_first(ready)[-1]


async def promote(
    tenancy: Tenancy, tenant: TenantId, digest: str | None = None, *, requested_by: str | None = None
) -> ActiveAdapter:
    """Make the canary the active adapter. Raises :class:`Refused` where there is none, or another than ``digest``."""

    def change_with(_: AdapterState | None) -> Change:
        return activation.promoted(tenancy.outbox.entry, requested_by, expected=digest)

    return await _swapped(tenancy, tenant, None, change_with)


async def rollback(
    tenancy: Tenancy, tenant: TenantId, digest: str | None = None, *, requested_by: str | None = None
) -> ActiveAdapter:
    """Return to ``digest``, again is no change; or to the adapter before the present one, or the base model. A canary
    is ended first.

    Not idempotent without ``digest``: each call goes further back. Raises :class:`Refused` when none is active.
    """

    def change_with(archived: AdapterState | None) -> Change:
        return activation.rolled_back(digest, tenancy.outbox.entry, requested_by, archived=archived)

    return await _swapped(tenancy, tenant, digest, change_with)


class _StateMoved(Exception):
    """The archive was read beside a state that is not the present one."""


ChangeWith = Callable[[AdapterState | None], Change]


async def _swapped(tenancy: Tenancy, tenant: TenantId, digest: str | None, change_with: ChangeWith) -> ActiveAdapter:
    """Swap by the change with the archived record of ``digest``, where the state does not hold that adapter.

    The record counts only beside the state that was read before it. Of an adapter that was retired since, another
    record is written, so both are read again once the state has moved. Raises :class:`ContendedState` after too many
    times.
    """
    for _ in range(ATTEMPTS):
        with suppress(_StateMoved):
            return await _swapped_once(tenancy, tenant, digest, change_with)
    raise ContendedState(CONTENDED)


async def _swapped_once(
    tenancy: Tenancy, tenant: TenantId, digest: str | None, change_with: ChangeWith
) -> ActiveAdapter:
    base = await tenancy.active(tenant)
    archived = None
    if digest is not None and digest not in base.state.adapters:
        archived = await Archive(await tenancy.store(tenant)).adapter(digest)
    change, came_to = change_with(archived), ActiveAdapter(None, Outcome.NOOP_DUPLICATE)

    def noted(state: TenantState) -> TenantState:
        # What is written, not what the state says after the swap: others may have swapped it again by then.
        nonlocal came_to
        is_in_state = digest is None or digest in state.adapters
        if not is_in_state and state.nonce != base.state.nonce:
            raise _StateMoved
        changed = change(state)
        outcome = Outcome.NOOP_DUPLICATE if changed is state else Outcome.EFFECT
        came_to = ActiveAdapter(changed.active_adapter, outcome, changed.canary)
        return changed

    change(base.state)  # what is refused writes nothing
    await announce(tenancy.objects, "training", tenant)  # the runner publishes what a command that dies here owes
    await tenancy.outbox.swap(tenant, noted, base=base)
    return came_to


async def request_export(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    requested_by: str,
    digest: str | None = None,
) -> str:
    """Ask for the active adapter, or for ``digest``, and return the export's id.

    Raises :class:`Refused` when the tenant has no such adapter, which the export would find out only later.
    """
    state = (await tenancy.active(tenant)).state
    wanted = digest or state.active_adapter
    if wanted is None:
        raise Refused("nothing-active", "refused: the tenant has no active adapter to export")
    adapter = await Archive(await tenancy.store(tenant)).known_adapter(state, wanted)
    if adapter is None or adapter.status != "ready":
        raise Refused("unknown-adapter", "refused: the tenant has no adapter of this digest that it may take away")
    export_id = f"export-{random_id()}"
    # The digest is named, so that an activation in between does not change what is exported.
    requested = ExportRequested(export_id=export_id, adapter_digest=wanted, requested_by=requested_by)
    await tenancy.outbox.publish(tenant, requested)
    return export_id


async def churn(tenancy: Tenancy, tenant: TenantId, *, requested_by: str) -> None:
    """Say that the contract ended; a purge follows. Saying it again is the same event. Raises UnknownTenant."""
    await tenancy.states.read(tenant)
    await tenancy.outbox.publish(tenant, TenantChurned(requested_by=requested_by))


async def request_purge(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    requested_by: str,
) -> str:
    """Ask for a purge and return the id of the one that is under way: an earlier one, where there is one.

    Raises :class:`UnknownTenant`.
    """
    state = (await tenancy.states.read(tenant)).state
    if state.purge is not None:
        return state.purge.purge_id
    purge_id = f"purge-{random_id()}"
    await tenancy.outbox.publish(
        tenant, PurgeRequested(purge_id=purge_id, reason_code="operator-request", requested_by=requested_by)
    )
    return purge_id
