"""Awaits many coroutines, a bounded number at a time, of all or of each owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tenancy.platform.threads import REQUESTS

AT_ONCE = REQUESTS // 2
"""So that one handler or look leaves half of the object store's threads to the others of its process."""

RUN_AT_ONCE = REQUESTS
"""Reads and writes of one run of events, which take no threads: half of those that the client has under way."""

PAGE = RUN_AT_ONCE
"""Elements of a listing that are shown together. All are read at once, so that the first page is quick."""

NameT = TypeVar("NameT")
T = TypeVar("T")


async def gathered(
    calls: Iterable[Awaitable[T]], on_done: Callable[[int], None] = lambda done: None, *, at_once: int = AT_ONCE
) -> list[T]:
    """The results in the order of the calls, of which at most ``at_once`` are under way at a time.

    A call is taken from ``calls`` when there is room for it, so these should be made as they are asked for.
    ``on_done`` is told after each how many are done. The first exception is raised once the calls in flight are over;
    no other is begun after it.
    """
    results: dict[int, T] = {}
    waiting = iter(enumerate(calls))
    failures: list[BaseException] = []

    async def work() -> None:
        while not failures and (found := next(waiting, None)) is not None:
            index, call = found
            try:
                results[index] = await call
            except Exception as error:
                failures.append(error)
            except BaseException as error:
                failures.append(error)
                raise
            else:
                on_done(len(results))

    await asyncio.gather(*(work() for _ in range(at_once)))
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(results))]


async def in_pages(names: AsyncIterator[NameT], read: Callable[[NameT], Awaitable[T]]) -> AsyncIterator[list[T]]:
    """What ``read`` gives for each name, in the order of the names, page by page as they are listed."""
    page: list[NameT] = []
    async for name in names:
        page.append(name)
        if len(page) == PAGE:
            yield await gathered(map(read, page), at_once=PAGE)
            page = []
    if page:
        yield await gathered(map(read, page), at_once=PAGE)


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that goes on to its end when its caller is cancelled, which the caller is after it."""
    task, is_cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        task.exception()  # looked at, or asyncio would log it
        raise asyncio.CancelledError
    return task.result()


@contextmanager
def counted(counts: dict[NameT, int], owner: NameT, amount: int = 1) -> Iterator[None]:
    """Adds to the owner's count for as long as this lasts. An owner of whom nothing is left has no count."""
    counts[owner] = counts.get(owner, 0) + amount
    try:
        yield
    finally:
        counts[owner] -= amount
        if not counts[owner]:
            del counts[owner]


@dataclass
class _Place:
    """``asked``: how many of one owner have it, or wait for it."""

    one: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: int = 0


class OneOfEach:
    """One at a time of each owner; the owner's others wait here, and nobody else does."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Around what the owner may do once at a time."""
        place = self._places.setdefault(owner, _Place())
        place.asked += 1
        try:
            async with place.one:
                yield
        finally:
            place.asked -= 1
            if not place.asked:
                del self._places[owner]
