"""Audits the steps of a purge that publish no event."""

from __future__ import annotations

import logging
from typing import Any

from consumers.runtime.audit_failures import audit_failure_logged
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects.purges import PurgeRecord
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.evidence.process_keys import ProcessKeys
from tenancy.platform.logs import SCOPE
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.purge")

STEP = "purge.step"
TOLD_BY_EVENTS = ("requested", "fenced", "certified")


async def enter_step(record: PurgeRecord, tenancy: Tenancy) -> None:
    """Enter the step that the purge has reached, once. A log that does not take it holds up no deletion."""
    if record.step in TOLD_BY_EVENTS:
        return
    step = AuditRecord(
        occurrence=event_id(STEP, record.tenant, f"{record.purge_id}|{record.step}"),
        kind=STEP,
        time=tenancy.clock(),
        actor=Actor(role="service", id="purge"),
        facts={"purge_id": record.purge_id, "step": record.step},
        recorded_while="purging",
    )
    with audit_failure_logged(logger, "purge step not audited", purge_id=record.purge_id):
        await tenancy.audit.append(TenantId(record.tenant), step, is_repeated=True)


async def signed_log(tenant: TenantId, tenancy: Tenancy, keys: ProcessKeys) -> dict[str, Any] | None:
    """A checkpoint of the tenant's log that covers every step entered until now, for the certificate to carry.

    The ledger's own is of the fence, before anything was destroyed. A log that cannot be signed holds up no
    certificate: it then carries the latest checkpoint that the head names and that can be read, or None.
    """
    checkpointer, not_signed = Checkpointer(tenancy.audit, keys), "purge not signed in the audit log"
    with audit_failure_logged(logger, not_signed):
        signed = await checkpointer.seal(tenant)
        return None if signed is None else await checkpointer.envelope(tenant, signed)
    with audit_failure_logged(logger, not_signed):
        return await checkpointer.latest(tenant)
    return None
