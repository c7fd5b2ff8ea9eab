"""Records a subcontractor's confirmation of destruction on a purge that is not certified yet."""

from __future__ import annotations

from producers.commands.audited import entered
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects.purges import SubcontractorConfirmation
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.lifecycle.purge_records import PurgeRecords, confirmed
from tenancy.tenant_id import TenantId

CONFIRMED = "purge.confirmed"


async def confirm(
    tenancy: Tenancy, tenant: TenantId, subcontractor: str, *, reference: str, recorded_by: str
) -> SubcontractorConfirmation:
    """Record one confirmation on the tenant's purge and return it; again is no change.

    Raises :class:`UnknownTenant`, :class:`Refused` where there is no such purge or it takes no confirmation, and
    :class:`~producers.commands.audited.NotAudited`.
    """
    state = (await tenancy.states.read(tenant)).state
    if state.purge is None:
        raise Refused("no-purge", "refused: the tenant is not being purged; `sano purges` shows who is")
    given = SubcontractorConfirmation(
        subcontractor=subcontractor, reference=reference, recorded_at=tenancy.clock(), recorded_by=recorded_by
    )
    records = PurgeRecords(tenancy.objects, tenancy.clock)
    record, _ = await records.note(tenant, state.purge.purge_id, confirmed(given))
    noted = next(found for found in record.confirmations if found.subcontractor == subcontractor)
    entry = AuditRecord(
        occurrence=event_id(CONFIRMED, tenant, f"{record.purge_id}|{subcontractor}"),
        kind=CONFIRMED,
        time=noted.recorded_at,
        actor=Actor(role="operator", id=noted.recorded_by),
        facts={"purge_id": record.purge_id, "subcontractor": subcontractor, "reference": noted.reference},
        recorded_while=state.status,
    )
    await entered(tenancy, tenant, entry, f"the confirmation of {subcontractor} is recorded")
    return noted
