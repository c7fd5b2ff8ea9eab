"""Prices a tenant's usage of a month."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.tenant.prices import PriceFile
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.costs import Costs, Month, cost_of, month_usage
from tenancy.tenant_id import TenantId

_SHOWN = Decimal("0.000001")


class CostView(Contract):
    """Amounts in the currency. A month that is not over costs what it has cost so far."""

    month: str
    currency: str
    price_versions: tuple[str, ...]
    inference: float
    training: float
    storage: float
    total: float
    adaptation: float = Field(description="training and storage: what an adapter of the tenant's own adds")
    adaptation_share: float | None = Field(description="of the cost of inference; absent where that is nothing")
    budget: float | None = None
    budget_used: float | None = Field(default=None, description="share of the budget; absent without one")
    on_budget: str | None = None


async def cost(tenancy: Tenancy, tenant_id: TenantId, month: Month, prices: PriceFile) -> CostView:
    """Raises :class:`UnknownTenant`, :class:`KeyDestroyed` after a purge, and :class:`Refused` where a price lacks."""
    state = (await tenancy.states.read(tenant_id)).state
    costs = cost_of(await month_usage(await tenancy.store(tenant_id), month), month, prices)
    return view_of(costs, month, prices.currency, state.policy.monthly_budget, state.policy.on_budget)


def view_of(costs: Costs, month: Month, currency: str, budget: float | None = None, on_budget: str = "") -> CostView:
    return CostView(
        month=str(month),
        currency=currency,
        price_versions=costs.versions,
        inference=_shown(costs.inference),
        training=_shown(costs.training),
        storage=_shown(costs.storage),
        total=_shown(costs.total),
        adaptation=_shown(costs.adaptation),
        adaptation_share=_shown(costs.adaptation / costs.inference) if costs.inference else None,
        budget=budget,
        budget_used=_shown(costs.total / Decimal(str(budget))) if budget else None,
        on_budget=on_budget if budget is not None else None,
    )


def _shown(amount: Decimal) -> float:
    return float(amount.quantize(_SHOWN))
