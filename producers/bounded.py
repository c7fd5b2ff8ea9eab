"""Doing the same to many things, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

AT_ONCE = 16
"""Half of the connections that the object store's client keeps (``tenancy.s3``)."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of a caller who does not look."""


async def each(
    items: Sequence[ItemT],
    act: Callable[[ItemT], Awaitable[ResultT]],
    *,
    what: str = "",
    progress: Progress = silent,
) -> list[ResultT]:
    """``act`` on every item, at most :data:`AT_ONCE` at a time; the results in the order of the items.

    The first exception is raised once the calls in flight are over; nothing new is begun after it.
    """
    results: dict[int, ResultT] = {}
    waiting = iter(enumerate(items))
    failures: list[Exception] = []
    progress(what, 0, len(items))

    async def work() -> None:
        for index, item in waiting:
            if failures:
                return
            try:
                results[index] = await act(item)
            except Exception as error:
                failures.append(error)
                return
            progress(what, len(results), len(items))

    await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(items)))))
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(items))]
