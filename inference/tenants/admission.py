"""How many requests of one tenant are answered at once, so that the flood of one is not the queue of all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inference.errors import too_many_requests
from tenancy.tenant_id import TenantId


class TenantRequests:
    """At most ``limit`` of each tenant, from before the body is read until the answer has ended."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[TenantId, int] = {}

    @contextmanager
    def one_more(self, tenant: TenantId) -> Iterator[None]:
        """Around one request. Raises :class:`RequestRefused` (429)."""
        running = self._running.get(tenant, 0)
        if running >= self._limit:
            raise too_many_requests(self._limit)
        self._running[tenant] = running + 1
        try:
            yield
        finally:
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]
