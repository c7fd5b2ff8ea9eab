"""Signs audit logs that have unsigned entries, and expires the claims that make their entries idempotent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from consumers.runtime.audit_failures import audit_failure_logged
from schemas.bus.topics import TOPICS
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy
from tenancy.platform.logs import SCOPE, trouble_logged
from tenancy.state.open_work import SPARED_SECONDS, Left, OpenWork, everybody
from tenancy.state.rounds import Rounds
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")
SKIPPED = "tenant skipped by the audit keeper"

SURVIVAL = timedelta(milliseconds=max(topic.worst_case_survival_ms() for topic in TOPICS.values()))
"""How long any topic can hold an event, and so deliver it again."""


@dataclass
class AuditKeeper:
    """Signs the logs in which something was entered since they were signed, of its share of the tenants.

    ``quiesce_seconds``: how long who announced an entry may take to write it, or to be cut off.
    """

    tenancy: Tenancy
    checkpointer: Checkpointer
    quiesce_seconds: float
    survival: timedelta | None = SURVIVAL
    """How long this installation's topics can hold an event; None: for ever, and then no claim is forgotten."""
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    _work: OpenWork = field(init=False)

    def __post_init__(self) -> None:
        quiesce_seconds = self.quiesce_seconds + SPARED_SECONDS
        objects, owns = self.tenancy.objects, lambda tenant: self.owns(tenant)
        self._work = OpenWork(objects, "audit", quiesce_seconds, lambda: self.now(), owns)

    async def reconcile(self) -> None:
        await self._work.reconcile(self._look_at)

    async def sweep(self) -> None:
        """The round over all tenants: announces what no marker names, and forgets claims whose time has come."""
        for tenant in await Rounds(self.tenancy.states, "audit", self.tenancy.clock).take():
            with trouble_logged(logger, SKIPPED):
                await self._sweep(tenant)

    async def _look_at(self, tenant: TenantId) -> Left:
        with trouble_logged(logger, SKIPPED), audit_failure_logged(logger, "audit log not signed"):
            await self.checkpointer.seal(tenant)
            return "nothing"
        return "something"

    async def _sweep(self, tenant: TenantId) -> None:
        audit = self.tenancy.audit
        with audit_failure_logged(logger, "audit log not signed"):
            caught_up, _ = await audit.caught_up_head(tenant)
            if caught_up.unsigned:
                await audit.announce(tenant)
        # Claims name events. That a log cannot be read or signed must not keep them for longer.
        head = await audit.head(tenant)
        if (
            head is None
            or head.moved_at is None
            or self.survival is None
            or head.moved_at + self.survival > self.tenancy.clock()
        ):
            return
        if (await self.tenancy.states.read(tenant)).state.status == "purged":
            await audit.forget_claims(tenant)
