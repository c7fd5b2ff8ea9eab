"""Limits concurrent adapter fetches: a bounded number in total, one per tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from tenancy.tenant_id import TenantId

FETCHES = 3
"""Adapters that are fetched at once. Each has its own buffers and connections until it is checked. Without a bound that
is as many as the engine holds.
"""


class FetchLimiter:
    """More than one turn, and one of them for each tenant, so that one tenant's slow fetches hold up nobody else.

    A tenant's next fetch does not wait among those of all tenants before its last one is over. So the tenants take
    turns, however many adapters one of them asks for.
    """

    def __init__(self, fetches: int = FETCHES) -> None:
        self._all = asyncio.Semaphore(fetches)
        self._own: WeakValueDictionary[TenantId, asyncio.Lock] = WeakValueDictionary()  # each while somebody uses it

    @asynccontextmanager
    async def slot(self, tenant: TenantId) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends."""
        async with self._own.setdefault(tenant, asyncio.Lock()), self._all:
            yield
