"""Reports the progress of many tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tenancy.platform.concurrency import AT_ONCE, gathered

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
    what: str,
    progress: Progress,
    at_once: int = AT_ONCE,
) -> list[ResultT]:
    """``act`` on every item as :func:`gathered` does it, with a word of progress from the first on."""
    progress(what, 0, len(items))
    return await gathered((act(item) for item in items), lambda done: progress(what, done, len(items)), at_once=at_once)
