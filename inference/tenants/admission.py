"""Limits each tenant's concurrent requests and unread answer bytes, so that one tenant's flood delays no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inference.errors import too_many_requests, too_much_unread
from tenancy.tenant_id import TenantId

WHOLE_BYTES = 32 * 1024 * 1024
"""Of a tenant's whole answers that wait to be read; a single one may be longer."""


class TenantRequests:
    """At most ``limit`` of each tenant, from before the body is read until the answer has ended."""

    def __init__(self, limit: int, whole_bytes: int = WHOLE_BYTES) -> None:
        self._limit = limit
        self._whole_bytes = whole_bytes
        self._running: dict[TenantId, int] = {}
        self._unread: dict[TenantId, int] = {}

    @contextmanager
    def one_more(self, tenant: TenantId) -> Iterator[None]:
        """Around one request. Raises :class:`RequestRefused` (429)."""
        running = self._running.get(tenant, 0)
        if running >= self._limit:
            raise too_many_requests(self._limit)
        if self._unread.get(tenant, 0) >= self._whole_bytes:
            raise too_much_unread()
        self._running[tenant] = running + 1
        try:
            yield
        finally:
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]

    @contextmanager
    def unread(self, tenant: TenantId, size: int) -> Iterator[None]:
        """Around the sending of a whole answer. Raises :class:`RequestRefused` (429)."""
        waiting = self._unread.get(tenant, 0)
        if waiting and waiting + size > self._whole_bytes:
            raise too_much_unread()
        self._unread[tenant] = waiting + size
        try:
            yield
        finally:
            self._unread[tenant] -= size
            if not self._unread[tenant]:
                del self._unread[tenant]
