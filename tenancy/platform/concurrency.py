"""Awaits many coroutines, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tenancy.platform.threads import REQUESTS

AT_ONCE = REQUESTS // 2
"""So that one handler or look leaves half of the object store's threads to the others of its process."""

T = TypeVar("T")


async def gathered(calls: Iterable[Awaitable[T]], on_done: Callable[[int], None] = lambda done: None) -> list[T]:
    """The results in the order of the calls, of which at most :data:`AT_ONCE` are under way at a time.

    A call is taken from ``calls`` when there is room for it, so these should be made as they are asked for.
    ``on_done`` is told after each how many are done. The first exception is raised once the calls in flight are over;
    no other is begun after it.
    """
    results: dict[int, T] = {}
    waiting = iter(enumerate(calls))
    failures: list[Exception] = []

    async def work() -> None:
        while not failures and (found := next(waiting, None)) is not None:
            index, call = found
            try:
                results[index] = await call
            except Exception as error:
                failures.append(error)
            else:
                on_done(len(results))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(results))]
