"""Audits a replay in the log of each tenant whose events it resends: who, by which plan, how many, with what result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from producers.replay.journal import Journal
from schemas.bus.envelope import Event, event_id
from schemas.bus.events import ReplicaRegistered
from schemas.evidence.audit import Actor
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import UnknownTenant
from tenancy.tenant_id import TenantId

BEGUN = "replay.begun"
ENDED = "replay.ended"


@dataclass
class ReplayAudit:
    """Enters a replay. ``begun`` comes before anything is sent for a tenant: no replay goes unrecorded."""

    tenancy: Tenancy
    replay_id: str
    plan_sha256: str
    by: str
    _begun: set[str] = field(default_factory=set)

    async def begun(self, event: Event) -> None:
        """Enter the replay once for each tenant, however often it is taken up again."""
        tenant = event.subject
        # A replica's registration is no tenant's.
        if tenant not in self._begun and not isinstance(event.data, ReplicaRegistered):
            await self._enter(tenant, BEGUN, self.replay_id, {})
            self._begun.add(tenant)

    async def ended(self, kind: str, journal: Journal) -> None:
        """Enter, for each tenant that this call has sent events of, how many were sent so far and how it ended."""
        sent = Counter(line.subject for line in journal.sent)
        for tenant in sorted(self._begun):
            facts: dict[str, str | int] = {"sent": sent[tenant], "end": kind}
            await self._enter(tenant, ENDED, f"{self.replay_id}|{kind}|{sent[tenant]}", facts)

    async def _enter(self, tenant: str, kind: str, natural_key: str, facts: dict[str, str | int]) -> None:
        try:
            status = (await self.tenancy.states.read(TenantId(tenant))).state.status
        except UnknownTenant:
            status = "active"  # a history that begins in this installation: its onboarding is about to be sent
        record = AuditRecord(
            occurrence=event_id(kind, tenant, natural_key),
            kind=kind,
            time=self.tenancy.clock(),
            actor=Actor(role="operator", id=self.by),
            facts={"replay_id": self.replay_id, "plan_sha256": self.plan_sha256, **facts},
            recorded_while=status,
        )
        await self.tenancy.audit.append(TenantId(tenant), record)
