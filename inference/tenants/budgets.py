"""Refuses answers to a tenant whose budget is used up, where its policy says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from inference.errors import budget_spent
from schemas.objects.state import TenantState
from tenancy.state.budgets import is_stopped


def require_within_budget(state: TenantState, now: datetime) -> None:
    """Raises :class:`RequestRefused` (429). The new month's first request is answered, whatever the state notes."""
    if is_stopped(state, now):
        utc = now.astimezone(UTC)
        over = (utc.replace(day=1) + timedelta(days=31)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        raise budget_spent(int((over - utc).total_seconds()) + 1)
