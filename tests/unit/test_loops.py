"""One event loop calls another: what is awaited there comes back here, and a caller's end is its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import pytest

from tenancy.service.loops import called_on, entered_on, own_loop

BOUND_SECONDS = 10
SPAN = ContextVar("SPAN", default="none")


@contextmanager
def thread_noted(seen: list[str], what: str) -> Iterator[None]:
    seen.append(f"{what} in {threading.current_thread().name}")
    yield


async def test_a_coroutine_runs_in_the_loops_thread_and_in_the_callers_context() -> None:
    async def where() -> tuple[str, str]:
        return threading.current_thread().name, SPAN.get()

    SPAN.set("the caller's")
    async with own_loop("beside") as loop:
        assert await called_on(loop, where()) == ("beside", "the caller's")
    assert loop.is_closed()
    assert "beside" not in [thread.name for thread in threading.enumerate()]


async def test_what_it_raises_is_raised_here() -> None:
    async def fails() -> None:
        raise KeyError("there")

    async with own_loop("beside") as loop:
        with pytest.raises(KeyError, match="there"):
            await called_on(loop, fails())


async def test_a_deadline_cancels_what_is_awaited_and_waits_until_it_has_ended() -> None:
    ended = False

    async def lasts() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended = True

    async with own_loop("beside") as loop:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await called_on(loop, lasts())
        assert ended


async def test_a_call_that_is_cancelled_before_it_has_begun_ends() -> None:
    may_go_on = threading.Event()
    async with own_loop("beside") as loop, asyncio.timeout(BOUND_SECONDS):
        loop.call_soon_threadsafe(may_go_on.wait, BOUND_SECONDS)
        calling = asyncio.create_task(called_on(loop, asyncio.sleep(BOUND_SECONDS)))
        await asyncio.sleep(0)
        calling.cancel()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await calling


@asynccontextmanager
async def opened(seen: list[str], failure: Exception | None = None) -> AsyncIterator[str]:
    with thread_noted(seen, "entered"):
        if failure is not None:
            raise failure
    try:
        yield "value"
    finally:
        seen.append(f"left in {threading.current_thread().name}")


async def test_a_context_is_entered_and_left_on_the_other_loop() -> None:
    seen: list[str] = []
    async with own_loop("beside") as loop:
        async with entered_on(loop, opened(seen)) as value:
            assert (value, seen) == ("value", ["entered in beside"])
        assert seen == ["entered in beside", "left in beside"]


async def test_a_context_that_cannot_be_entered_says_why() -> None:
    async with own_loop("beside") as loop:
        with pytest.raises(OSError, match="no bus"):
            async with entered_on(loop, opened([], OSError("no bus"))):
                raise AssertionError("it was entered")


async def test_a_context_that_cannot_be_left_says_why() -> None:
    @asynccontextmanager
    async def stays() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("not left")

    async with own_loop("beside") as loop:
        with pytest.raises(OSError, match="not left"):
            async with entered_on(loop, stays()):
                pass


async def test_entering_that_is_cut_off_leaves_what_was_begun() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def begins() -> AsyncIterator[None]:
        try:
            seen.append("begins")
            await asyncio.Event().wait()
            yield
        finally:
            seen.append("left")

    async with own_loop("beside") as loop:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), entered_on(loop, begins()):
                raise AssertionError("it was entered")
        assert seen == ["begins", "left"]
