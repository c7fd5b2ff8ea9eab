"""Legal holds, as operators place and release them: one swap of the tenant's state, without any event."""

from __future__ import annotations

from producers.commands import NewId, random_id
from schemas.audit import Actor
from schemas.envelope import event_id
from schemas.holds import LegalHold
from tenancy import holds
from tenancy.audit import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.state import Change
from tenancy.tenant_id import TenantId


async def place(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    reason_code: str,
    placed_by: str,
    hold_id: str | None = None,
    new_id: NewId = random_id,
) -> LegalHold:
    """Place a hold and return it; with the id of one that is open, again is no change.

    Raises :class:`UnknownTenant`, :class:`~tenancy.holds.TooLateToHold`, and :class:`Refused` for an id in use.
    """
    hold = LegalHold(
        hold_id=hold_id or f"hold-{new_id()}", reason_code=reason_code, placed_by=placed_by, placed_at=tenancy.clock()
    )
    placed = await _swapped(tenancy, tenant, holds.placed(hold), hold.hold_id)
    await _entered(tenancy, tenant, placed, "hold.placed", placed.placed_by)
    return placed


async def release(tenancy: Tenancy, tenant: TenantId, hold_id: str, *, released_by: str) -> LegalHold:
    """Release one hold and return it; again is no change. Raises :class:`UnknownTenant` and :class:`Refused`."""
    released = await _swapped(tenancy, tenant, holds.released(hold_id, released_by, tenancy.clock()), hold_id)
    await _entered(tenancy, tenant, released, "hold.released", released.released_by or released_by)
    return released


async def _entered(tenancy: Tenancy, tenant: TenantId, hold: LegalHold, kind: str, by: str) -> None:
    """Into the audit log, since no event tells it. Who was interrupted before this says the same again."""
    record = AuditRecord(
        occurrence=event_id(kind, tenant, hold.hold_id),
        kind=kind,
        time=tenancy.clock(),
        actor=Actor(role="operator", id=by),
        facts={"hold_id": hold.hold_id, "reason_code": hold.reason_code},
        recorded_while=(await tenancy.states.read(tenant)).state.status,
    )
    await tenancy.audit.append(tenant, record, is_repeated=True)


async def _swapped(tenancy: Tenancy, tenant: TenantId, change: Change, hold_id: str) -> LegalHold:
    state = (await tenancy.states.swap(tenant, change)).state
    return next(hold for hold in state.holds if hold.hold_id == hold_id)
