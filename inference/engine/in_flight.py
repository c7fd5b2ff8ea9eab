"""Tracks running requests by adapter and by owner, and aborts them.

The work of a request runs in its own task. So it can be aborted at any point (while its prompt is read, before the
engine knows its id, or in the middle of a stream), and a slow or disconnected reader does not keep an adapter in use.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from inference.engine.errors import AdapterWithdrawn, EngineDead, EngineRefused, ReadTooSlowly
from inference.engine.stream_usage import Computed, StreamUsage
from inference.engine.unread import Unread
from inference.engine.vllm_errors import error_events

Abort = Callable[[list[str]], Awaitable[None]]
Straight = Callable[[bytes], bool]
"""Gives an event to its reader at once. False where it cannot: then the reader is to fetch it."""
TOLD_EACH = 8
"""Tokens of a stream between two reports of what it has used."""


class Flight:
    """One running request. ``engine_ids`` are the ids under which vLLM knows its sequences, ``owner`` is whoever asked:
    a tenant, of which the engine knows nothing but that its requests end together.
    """

    def __init__(self, request_id: str, adapter: str | None, engine_ids: list[str], owner: str) -> None:
        self.request_id = request_id
        self.adapter = adapter
        self.owner = owner
        self.engine_ids = engine_ids
        self.ended_as: EngineRefused | None = None  # why it was ended before its time, which its caller is told
        self.aborting = False  # its work is over, and the engine is being told
        self.task: asyncio.Task[Any] | None = None
        self.usage: Computed | None = None
        """A whole answer tells its figures itself, where its caller waits for it."""

    def computed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Take what a step has computed of this request."""
        if self.usage is not None:
            self.usage.computed(prompt_tokens, completion_tokens)


class Flights:
    """All running requests of one engine. Every method runs on the engine's event loop."""

    def __init__(self, abort: Abort) -> None:
        self._abort = abort
        self._running: dict[str, Flight] = {}
        self.on_busy: Callable[[], None] = lambda: None
        self.on_idle: Callable[[], None] = lambda: None
        self.unread = Unread()

    def count(self, adapter: str | None) -> int:
        """How many requests of the adapter run (``None``: the base model)."""
        return sum(flight.adapter == adapter for flight in self._running.values())

    def count_of(self, owner: str) -> int:
        """How many requests of the owner run, by its adapters and by the base model."""
        return sum(flight.owner == owner for flight in self._running.values())

    def start(self, flight: Flight, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work`` as the flight's task. The flight is counted from now until the task has ended.

        Raises :class:`EngineRefused` (409) for a request id that is running: an abort by id would end both.
        """
        if flight.request_id in self._running:
            work.close()
            raise EngineRefused(409, "a request with this id is running")
        if not self._running:
            self.on_busy()
        self._running[flight.request_id] = flight
        flight.task = asyncio.create_task(self._run(flight, work))
        flight.task.add_done_callback(lambda task: self._ended(flight, work, task))
        return flight.task

    def cancel(self, flight: Flight) -> None:
        """Let the flight end, which it has not done yet when this returns."""
        # A cancellation later than that, or a second one, would cut off the abort.
        if flight.task is not None and not flight.aborting and not flight.task.cancelling():
            flight.task.cancel()

    def running(self, request_id: str) -> Flight | None:
        """The running request of this id."""
        return self._running.get(request_id)

    async def end(self, flights: list[Flight]) -> None:
        """Cancel the flights and wait until the engine has been told and they no longer count."""
        tasks = [flight.task for flight in flights if flight.task is not None]
        for flight in flights:
            self.cancel(flight)
        if tasks:
            await asyncio.wait(tasks)

    async def abort(self, adapter: str) -> int:
        """End all requests of this adapter and no other; returns how many. Their callers get AdapterWithdrawn."""
        return await self._end_as_withdrawn([flight for flight in self._running.values() if flight.adapter == adapter])

    async def abort_of(self, owner: str) -> int:
        """End all requests of this owner and no other, as :meth:`abort`."""
        return await self._end_as_withdrawn([flight for flight in self._running.values() if flight.owner == owner])

    async def end_all(self) -> None:
        """End every request of an engine that stops or has stopped. Their callers get EngineDead."""
        flights = list(self._running.values())
        for flight in flights:
            if flight.ended_as is None and not flight.aborting:  # what is answered already is given out
                flight.ended_as = EngineDead()
        await self.end(flights)

    async def _end_as_withdrawn(self, flights: list[Flight]) -> int:
        for flight in flights:
            flight.ended_as = AdapterWithdrawn()
        await self.end(flights)
        return len(flights)

    async def _run(self, flight: Flight, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        finally:
            # However the work has ended: vLLM aborts a request itself where it is cancelled or fails, except while it
            # is handed to the engine. Then its prompt would stay in this process for ever. By id it is found in any
            # case, one that is over is not, and nothing is sent for it. The abort goes out before the flight stops
            # counting: it reaches the engine ahead of a remove_lora that waits for the count.
            flight.aborting = True
            await self._abort(flight.engine_ids)

    def _ended(self, flight: Flight, work: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> None:
        if len(self._running) == 1:
            self.on_idle()  # while the owner of the last one is known
        del self._running[flight.request_id]
        work.close()  # a task that is cancelled before its first step has not begun it
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it with the request's data


class EventStream(AsyncIterator[bytes]):
    """An answer as server-sent events. ``await aclose()`` when the caller is gone: it ends the generation.

    The flight fills it at the engine's speed; a stream whose reader is too far behind is cut off: see
    :mod:`inference.engine.unread`. While the reader waits, an event goes straight to it where ``straight`` is set: that
    spares a turn of the event loop for each token. ``usage`` is what it has taken so far, also of events that nobody
    reads; whoever sets ``on_used`` is told of it at first, every :data:`TOLD_EACH` tokens and at the end.
    """

    def __init__(self, flights: Flights, flight: Flight, usage: StreamUsage) -> None:
        self._flights = flights
        self._flight = flight
        self.usage = flight.usage = usage
        self.owner = flight.owner
        self.unread = 0
        self._events: deque[bytes | None] = deque()
        self._waiting: asyncio.Future[None] | None = None  # the reader, which has given out all that it fetched
        self.straight: Straight | None = None
        self.on_used: Callable[[int, int], None] = lambda prompt_tokens, completion_tokens: None
        self._told = 0
        self._finished = False
        self._is_cut_off = False
        self.was_left = False
        """The reader left, or was left, before the answer was made."""

    def put(self, *events: bytes) -> None:
        for event in events:
            shown = self.usage.read(event)
            if shown is not None and not self._finished and not self._is_cut_off and not self._gone_straight(shown):
                self._append(shown)
                self._flights.unread.add(self, sys.getsizeof(shown))
        if not self._told or self.usage.completion_tokens >= self._told + TOLD_EACH:
            self._tell()

    def _gone_straight(self, event: bytes) -> bool:
        """Never past an event that is there already, nor past one that the reader is still giving out."""
        if self.straight is None or self._waiting is None or self._events or self._waiting.done():
            return False
        return self.straight(event)

    def _append(self, event: bytes | None) -> None:
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _tell(self) -> None:
        self._told = self.usage.completion_tokens
        self.on_used(self.usage.prompt_tokens, self._told)

    def cut_off(self) -> None:
        """End the generation because its reader is too far behind. The reader is told, and gets nothing before that."""
        self._is_cut_off = self.was_left = True
        self._drop()
        for event in (*error_events(ReadTooSlowly()), None):
            self._append(event)
        self._flights.cancel(self._flight)

    def _drop(self) -> None:
        self._events.clear()
        self._flights.unread.drop(self)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """Callback of the flight's task: nothing comes after this."""
        self._tell()
        if self._is_cut_off:
            return
        if self._flight.ended_as is not None:
            self.put(*error_events(self._flight.ended_as))
        elif task.cancelled():
            self.put(*error_events(EngineDead()))  # as in result_of; or its reader is gone
        self._append(None)

    async def __anext__(self) -> bytes:
        while not self._events and not self._finished:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        event = None if self._finished else self._events.popleft()
        if event is None:
            self._finished = True
            raise StopAsyncIteration
        if not self._is_cut_off:
            self._flights.unread.take(self, sys.getsizeof(event))
        return event

    def is_whole(self) -> bool:
        """Whether nobody ended it before its time, once it is made."""
        task = self._flight.task
        return self._flight.ended_as is None and task is not None and not task.cancelling() and not task.cancelled()

    def _leave(self) -> None:
        self._finished = True
        self.straight = None
        self.was_left = self.was_left or (self._flight.task is not None and not self._flight.task.done())

    async def made(self) -> None:
        """Wait until the answer is made, or was ended: what is read later needs nothing of the engine."""
        if self._flight.task is not None:
            await asyncio.wait([self._flight.task])

    def give_up(self) -> None:
        """As :meth:`aclose`, for whoever cannot wait."""
        self._leave()
        self._drop()
        self._flights.cancel(self._flight)

    async def aclose(self) -> None:
        self._leave()
        self._drop()
        await self._flights.end([self._flight])


async def result_of(flights: Flights, flight: Flight, task: asyncio.Task[Any]) -> Any:
    """The flight's result. If the waiting caller is cancelled (its client is gone), the flight ends too.

    Waits with ``asyncio.wait`` and not by awaiting the task, because vLLM answers a cancellation with an error
    response, which would swallow the caller's.
    """
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await flights.end([flight])
        raise
    if flight.ended_as is not None:
        raise flight.ended_as
    if task.cancelled():
        raise EngineDead  # cancelled inside vLLM
    return task.result()
