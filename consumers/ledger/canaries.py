"""Ends canaries by what their answers are: promotes or rolls back, where the tenant's policy leaves that to metrics.

The counts are in the records of usage, which take each report once. What they say is decided anew at each look, and
acted on by one swap that ends this very canary: a look that is repeated, or made by two processes, finds it ended. The
training service's runner publishes what the swap owes the bus, found by the marker that is written before.

A canary is looked at soon after answers of it were entered. Which these are is remembered in the process alone: the
next report says it again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from consumers.ledger.looks import look_at_each
from consumers.ledger.usage_metrics import UsageCounters
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.canaries import answers_of, verdict
from tenancy.platform.logs import SCOPE, safe_message
from tenancy.state.activation import judged
from tenancy.state.open_work import announce
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")

CANARY_SECONDS = 15.0
"""Between two looks. A look reads, of each tenant with a canary that answered since, a record for each of its days."""


@dataclass
class Canaries:
    """``reported``: the tenants of which answers beside a canary were entered since the last look."""

    tenancy: Tenancy
    counters: UsageCounters
    reported: set[TenantId] = field(default_factory=set)

    async def reconcile(self) -> None:
        await look_at_each(self.reported, self.look_at, _not_judged)

    async def look_at(self, tenant: TenantId) -> None:
        """Judge the tenant's canary, and end it if that is what is found."""
        snapshot = await self.tenancy.active(tenant)
        policy, canary, now = snapshot.state.policy, snapshot.state.canary, self.tenancy.clock()
        if canary is None or policy.canary_decision != "metrics":
            return
        counted = await answers_of(await self.tenancy.store(tenant), canary, now)
        found = verdict(policy, canary, counted, now)
        if found.decision == "wait":
            return
        end = judged(canary, found.decision, found.reason_code, self.tenancy.outbox.entry)
        was_ended: list[bool] = []

        def ended(state: TenantState) -> TenantState:
            # By the policy that it was judged by: an operator who has just taken the decision back keeps it.
            changed = end(state) if state.policy == policy else state
            was_ended[:] = [changed is not state]
            return changed

        await announce(self.tenancy.objects, "training", tenant)
        await self.tenancy.states.swap(tenant, ended, base=snapshot)
        if was_ended == [True]:
            labels = {"decision": found.decision, "reason": found.reason_code}
            logger.warning("canary ended", extra={"tenant": tenant, **labels})
            self.counters.canaries.add(1, labels)


def _not_judged(error: Exception) -> None:
    logger.error("canary not judged", extra={"error": safe_message(error)})
