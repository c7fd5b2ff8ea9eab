"""Work on the audit logs beside the events: signing what is not signed yet, and forgetting which event an entry was."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from consumers.runtime.audit_failures import audit_failure_logged
from schemas.bus.topics import TOPICS
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy
from tenancy.service.telemetry import SCOPE, error_location
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")

SURVIVAL = timedelta(milliseconds=max(topic.worst_case_survival_ms() for topic in TOPICS.values()))
"""How long any topic can hold an event, and so deliver it again."""


@dataclass(frozen=True)
class AuditKeeper:
    """One look at every tenant's log. Two keepers are no harm."""

    tenancy: Tenancy
    checkpointer: Checkpointer
    survival: timedelta = SURVIVAL

    async def reconcile(self) -> None:
        async for tenant in self.tenancy.states.tenants():
            try:
                await self._look_at(tenant)
            except Exception as error:
                # One tenant's trouble must not hold up those listed behind it; the next look tries again.
                logger.error("tenant skipped by the audit keeper", extra={"error": error_location(error)})

    async def _look_at(self, tenant: TenantId) -> None:
        # Claims name events. That a log cannot be signed must not keep them for longer.
        with audit_failure_logged(logger, "audit log not signed"):
            await self.checkpointer.seal(tenant)
        head = await self.tenancy.audit.head(tenant)
        if head is None or head.moved_at is None or head.moved_at + self.survival > self.tenancy.clock():
            return
        if (await self.tenancy.states.read(tenant)).state.status == "purged":
            await self.tenancy.audit.forget_claims(tenant)
