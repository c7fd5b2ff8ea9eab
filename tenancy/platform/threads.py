"""Runs the calls of blocking clients in threads: the object store's, and the master key's.

Not by anyio's limiter. It too never begins what was cancelled while it waited, but it gives the place of a cancelled
call back while that call goes on in its thread: with two places and two calls cancelled, four were under way, which is
more than the client has connections. And it has no way to end what waits when the client is closed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tenancy.errors import StoreUnavailable

REQUESTS = 64
"""Under way at a time; what is asked beyond that waits for its turn."""
RESERVED = 4
"""And these for what waits for nobody's turn: see :func:`ahead_of_others`."""
CONNECTIONS = REQUESTS + RESERVED
"""That the client keeps: a thread never waits for one, nor opens one that is thrown away afterwards."""
CLOSED = "the connection is closed here"

T = TypeVar("T")

_is_ahead: contextvars.ContextVar[bool] = contextvars.ContextVar("is_ahead", default=False)


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """What is asked in here has threads of its own. For the renewal of a lease, which must not end because dozens of
    slow reads were asked before it.
    """
    token = _is_ahead.set(True)
    try:
        yield
    finally:
        _is_ahead.reset(token)


def is_ahead() -> bool:
    """Whether the caller is within :func:`ahead_of_others`."""
    return _is_ahead.get()


@dataclass(frozen=True, eq=False)
class Threads:
    """Of one client and not the event loop's own, of which a small machine has six for everything together."""

    _all: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(REQUESTS, "client"))
    _reserved: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(RESERVED, "client-reserved"))

    async def run(self, call: Callable[[], T]) -> T:
        """The result of ``call``. Cancelled while it waits for a thread, it is never begun; cancelled later, it goes on
        in its thread. Raises :class:`StoreUnavailable` once these threads are closed, also where it waited for one.
        """
        pool = self._reserved if is_ahead() else self._all
        context = contextvars.copy_context()  # the span that it belongs to
        try:
            result = asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(call))
        except RuntimeError:
            raise StoreUnavailable(CLOSED) from None
        try:
            return await result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled who waits here, so it is the call that was: by close.
            raise StoreUnavailable(CLOSED) from None

    def close(self) -> None:
        """Begin nothing more, and let each thread end with its call. Waits for none."""
        for pool in (self._all, self._reserved):
            pool.shutdown(wait=False, cancel_futures=True)
