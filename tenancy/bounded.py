"""Awaiting many things, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

READS_AT_ONCE = 16

T = TypeVar("T")


async def gathered(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results in the order of the calls, of which :data:`READS_AT_ONCE` are under way at a time."""
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def bounded(call: Awaitable[T]) -> T:
        async with gate:
            return await call

    return list(await asyncio.gather(*(bounded(call) for call in calls)))
