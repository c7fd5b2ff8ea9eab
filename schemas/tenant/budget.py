"""Defines how much of a tenant's monthly budget is used up, as its state notes it and a replica reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.integers import Amount
from schemas.tenant.policy import TenantPolicy

Level = Literal[0, 80, 100]
"""Per cent of the budget that are used up at least."""


class BudgetSpent(Contract):
    """What a month had cost when a level of the budget was reached; in the price file's currency."""

    month: str = Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")
    spent: Amount

    def level(self, policy: TenantPolicy, month: str) -> Level:
        """Of that month, by the policy as it is now: a budget that is raised, and a new month, need no other event."""
        budget = policy.monthly_budget
        if budget is None or self.month != month:
            return 0
        if self.spent >= budget:
            return 100
        return 80 if self.spent >= 0.8 * budget else 0
