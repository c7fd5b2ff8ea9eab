"""Tells whether a tenant's budget stops what it asks for."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.objects.state import TenantState


def is_stopped(state: TenantState, now: datetime) -> bool:
    """Whether this month's budget is used up, and the policy says that this stops. In a new month it is not, whatever
    the state notes.
    """
    if state.budget is None or state.policy.on_budget != "stop":
        return False
    return state.budget.level(state.policy, f"{now.astimezone(UTC):%Y-%m}") == 100
