"""Compares what tenants spend with their budgets: warns at 80 and at 100 %, and notes it in the tenant's state.

A replica reads the state and refuses answers where the policy says so. A tenant is looked at soon after usage of it was
entered. Which these are is remembered in the process alone: a process that dies before it looked forgets it, and the
next usage says it again; who uses nothing spends nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from consumers.ledger.looks import look_at_each
from consumers.ledger.usage_metrics import UsageCounters
from schemas.objects.state import TenantState
from schemas.tenant.budget import BudgetSpent, Level
from schemas.tenant.prices import PriceFile
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.costs import Month, cost_of, month_usage
from tenancy.platform.logs import SCOPE, safe_message
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")

BUDGET_SECONDS = 60.0
"""Between two looks. A look reads a month's records of each tenant that has a budget and used something since."""


@dataclass
class Budgets:
    """``spenders``: the tenants of which usage was entered since the last look. Without prices none is looked at."""

    tenancy: Tenancy
    prices: PriceFile | None
    counters: UsageCounters
    spenders: set[TenantId] = field(default_factory=set)

    async def reconcile(self) -> None:
        await look_at_each(self.spenders, self.look_at, _not_compared)

    async def look_at(self, tenant: TenantId) -> None:
        """Note the month's cost where it reached another level of the budget than the state knows of."""
        snapshot = await self.tenancy.active(tenant)
        policy, month = snapshot.state.policy, Month.of(self.tenancy.clock())
        if policy.monthly_budget is None:
            return
        if self.prices is None:
            logger.warning("budget without prices", extra={"tenant": tenant})
            return
        store = await self.tenancy.store(tenant)
        spent = BudgetSpent(
            month=str(month), spent=float(cost_of(await month_usage(store, month), month, self.prices).total)
        )
        reached: list[Level] = []

        def noted(state: TenantState) -> TenantState:
            reached.clear()
            known = state.budget.level(state.policy, str(month)) if state.budget is not None else 0
            level = spent.level(require_active(state).policy, str(month))
            if level == known:
                return state
            reached.append(level)
            return state.evolve(budget=spent)

        await self.tenancy.states.swap(tenant, noted, base=snapshot)
        for level in reached:
            stops = level == 100 and policy.on_budget == "stop"
            logger.warning("budget reached", extra={"tenant": tenant, "percent": level, "stops": stops})
            self.counters.budgets.add(1, {"percent": str(level)})


def _not_compared(error: Exception) -> None:
    logger.error("budget not compared", extra={"error": safe_message(error)})
