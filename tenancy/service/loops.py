"""Gives work an event loop of its own, in a thread, and lets one loop call another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def own_loop(name: str) -> AsyncIterator[asyncio.AbstractEventLoop]:
    """A loop of the same kind as the caller's, which a thread of this name runs. At the end what is left on it is
    cancelled.
    """
    loop = type(asyncio.get_running_loop())()
    # Nothing waits for it where the process is forced to end: what it does may wait for a loop that is gone.
    thread = threading.Thread(target=_run, args=(loop,), name=name, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


async def called_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine as a task of another loop, in the caller's context. A caller who is cancelled, as by a
    deadline, cancels it, and waits until it has ended.
    """
    here = asyncio.get_running_loop()
    ended = asyncio.Event()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(lambda _: here.call_soon_threadsafe(ended.set))

    loop.call_soon_threadsafe(begin)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # behind ``begin``
        await ended.wait()
        if not tasks[0].cancelled() and (error := tasks[0].exception()) is not None:
            raise error from None
        raise
    return tasks[0].result()


@asynccontextmanager
async def entered_on(loop: asyncio.AbstractEventLoop, context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Hold open, as a task of another loop, what belongs to that."""
    here = asyncio.get_running_loop()
    entered: asyncio.Future[T] = here.create_future()

    async def held() -> None:
        async with context as value:
            here.call_soon_threadsafe(entered.set_result, value)
            await asyncio.Event().wait()

    holding = asyncio.create_task(called_on(loop, held()))
    either: tuple[asyncio.Future[Any], ...] = (holding, entered)
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            holding.result()  # raises why it could not be entered
        yield entered.result()
    finally:
        holding.cancel()
        await asyncio.wait({holding})
    if not holding.cancelled():
        holding.result()
