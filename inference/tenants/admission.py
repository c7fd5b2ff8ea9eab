"""Limits each tenant's concurrent requests and unread answer bytes, so that one tenant's flood delays no other; and
what those cost of whom nobody knows yet whose they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from inference.errors import strangers_wait, too_many_requests, too_much_unread
from tenancy.platform.concurrency import counted
from tenancy.tenant_id import TenantId

WHOLE_BYTES = 32 * 1024 * 1024
"""Of a tenant's whole answers that wait to be read; a single one may be longer."""
LOOKS = 8
"""Questions of strangers that read from the object store at once."""
WAITING_LOOKS = 56
"""So many wait for that. Each keeps a connection, of which all callers have 1,024 by default."""


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
        if self._running.get(tenant, 0) >= self._limit:
            raise too_many_requests(self._limit)
        if self._unread.get(tenant, 0) >= self._whole_bytes:
            raise too_much_unread()
        with counted(self._running, tenant):
            yield

    @contextmanager
    def unread(self, tenant: TenantId, size: int) -> Iterator[None]:
        """Around the sending of a whole answer. Raises :class:`RequestRefused` (429)."""
        waiting = self._unread.get(tenant, 0)
        if waiting and waiting + size > self._whole_bytes:
            raise too_much_unread()
        with counted(self._unread, tenant, size):
            yield


class Looks:
    """Lets strangers' questions read from the object store, a few at a time, and few wait for that."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(LOOKS)
        self._asked = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around one of them. Raises :class:`RequestRefused` (503)."""
        if self._asked >= LOOKS + WAITING_LOOKS:
            raise strangers_wait()
        self._asked += 1
        try:
            async with self._turns:
                yield
        finally:
            self._asked -= 1
