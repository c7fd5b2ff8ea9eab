"""Visits tenants with new entries: retries one that failed, which holds up no other, and drops fenced ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tenancy.errors import KeyDestroyed, TenantFenced, UnknownTenant
from tenancy.tenant_id import TenantId


async def look_at_each(
    waiting: set[TenantId], look_at: Callable[[TenantId], Awaitable[None]], on_failure: Callable[[Exception], None]
) -> None:
    """Take every tenant out of ``waiting``, and put back whose look failed: others have theirs, and it is tried again.
    A tenant that is fenced or gone is left out."""
    tenants = list(waiting)
    waiting.clear()
    for tenant in tenants:
        try:
            await look_at(tenant)
        except (TenantFenced, UnknownTenant, KeyDestroyed):
            continue
        except Exception as error:
            waiting.add(tenant)
            on_failure(error)
