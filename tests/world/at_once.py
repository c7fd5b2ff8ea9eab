"""Calls that would be made in a thread are made at once, where they are asked for, and waits are over at once.

Nothing in the world blocks, so a thread would only add the scheduler's whims: the order in which calls end is the same
in every run, and a busy machine does not slow the world down by a switch of threads for every object that is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import pytest


def _called(
    self: asyncio.BaseEventLoop, executor: Executor | None, func: Callable[..., Any], *args: Any
) -> asyncio.Future[Any]:
    called = self.create_future()
    try:
        called.set_result(func(*args))
    except Exception as error:
        called.set_exception(error)
    return called


@contextmanager
def at_once() -> Iterator[None]:
    """No event loop calls anything in a thread in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "run_in_executor", _called)
        yield


def skip_waits() -> None:
    """From now on the running loop's clock moves only where all wait, and then to the next that is due: a machine may
    be as slow as it likes, and nobody waits for a deadline. Nothing outside of the loop may be waited for.
    """
    loop: Any = asyncio.get_running_loop()
    now, select = time.monotonic(), loop._selector.select

    def skipped(timeout: float | None) -> Any:
        nonlocal now
        ready = select(0)
        if not ready:
            assert timeout is not None, "nobody is due, and all wait"
            now += timeout
        return ready

    loop.time = lambda: now
    loop._selector.select = skipped
