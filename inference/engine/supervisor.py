"""Restarts a replica's engine, with backoff, when it has died or hangs.

Meanwhile requests are refused with 503; adapters are reloaded on demand. An engine's memory ends with its processes:
the next engine starts only when they are gone, and knows no adapter.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack

from inference.engine.errors import AdapterNotLoaded, EngineRefused
from inference.engine.in_flight import EventStream
from inference.engine.loaded_adapters import Eviction, Verify
from inference.engine.ports import AdapterEngine, Answering, Asking, Response
from inference.engine.suspects import Suspects, Trial
from inference.errors import restarting
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.inference")


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """The pause before a start is ``first_seconds``, doubled for each failure in a row, up to ``longest_seconds``, and
    drawn from its upper half. A failure is a start that fails, or an engine that ends within ``steady_seconds``. After
    ``give_up_after`` of them in a row the replica says that it is not alive, and goes on trying.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    give_up_after: int = 8
    steady_seconds: float = 60.0
    poll_seconds: float = 0.2

    def pause(self, failures: int, draw: float) -> float:
        """Seconds before the next start. ``draw`` is from 0 to 1."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return longest * (1 + draw) / 2


class EngineLife(AdapterEngine, Answering, Protocol):
    """One engine, from its start until its processes are gone."""

    @property
    def has_ended(self) -> bool: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def is_healthy(self) -> bool: ...

    async def require_answer(self) -> None: ...


class SupervisedEngine:
    """The engine for everybody else: each call goes to the one that runs now, and raises what a dead one raises where
    none does. ``on_ended`` is called when nothing of a dead engine is left, before the next one is started.
    """

    def __init__(
        self,
        new_engine: Callable[[], EngineLife],
        suspects: Suspects,
        policy: RestartPolicy | None = None,
        *,
        on_restarted: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._new_engine = new_engine
        self._suspects = suspects
        self._policy = policy or RestartPolicy()
        self._on_restarted = on_restarted
        self._now = now
        self._sleep = sleep
        self._draw = draw
        self.on_ended: Callable[[], None] = lambda: None
        self._engine = new_engine()
        self._started_at = 0.0
        self._failures = 0  # in a row
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._streams: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """The first start, which raises where it fails: what is wrong then does not pass by itself."""
        await self._engine.start()
        self._started_at = self._now()
        self._watching = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the engine, also one that is being started or ended. Does nothing the second time."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._close_engine()

    def is_healthy(self) -> bool:
        """Whether an engine runs, and has neither died nor hung."""
        return self._engine.is_healthy()

    def is_alive(self) -> bool:
        """Also while it is being started again, unless that has failed too often."""
        is_watched = self._watching is not None and not self._watching.done()
        return self.is_healthy() or (is_watched and self._failures < self._policy.give_up_after)

    def require_running(self) -> None:
        """Raises :class:`RequestRefused` (503) while the engine is being started again."""
        if not self.is_healthy():
            raise restarting()

    async def require_answer(self) -> None:
        """Ask the engine, so that one that hangs is found out. One that is being started is not asked."""
        if self.is_healthy():
            asked_at = self._now()
            await self._engine.require_answer()
            self._suspects.engine_answered(asked_at)

    # --- its life

    async def _supervise(self) -> None:
        try:
            await self._watch()
        except Exception as error:
            logger.error(
                "engine not supervised", extra={"reason": safe_message(error)}
            )  # which ends the replica's liveness

    async def _watch(self) -> None:
        while True:
            while self._engine.is_healthy():
                await self._sleep(self._policy.poll_seconds)
            self._suspects.engine_died()
            if self._now() - self._started_at >= self._policy.steady_seconds:
                self._failures = 0
            self._failures += 1
            logger.error("engine ended", extra={"failures": self._failures})
            await self._closed()
            while not self._engine.has_ended:
                # Its processes hold adapters, and the device. Nothing here ends what the kernel does not.
                self._failures = max(self._failures, self._policy.give_up_after)
                await self._sleep(self._policy.longest_seconds)
                await self._closed()
            self.on_ended()
            await self._restarted()

    async def _closed(self) -> None:
        try:
            await self._close_engine()
        except Exception as error:
            logger.error("engine not closed", extra={"reason": safe_message(error)})

    async def _close_engine(self) -> None:
        """Goes on when this is cancelled, and whoever comes then waits for it."""
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._engine.close())
        await asyncio.shield(self._closing)

    async def _restarted(self) -> None:
        while True:
            await self._sleep(self._policy.pause(self._failures, self._draw()))
            engine = self._new_engine()
            try:
                await engine.start()
            except Exception as error:
                self._failures += 1
                logger.error("engine start failed", extra={"reason": safe_message(error), "failures": self._failures})
                continue
            self._engine, self._started_at = engine, self._now()
            logger.warning("engine restarted", extra={"failures": self._failures})
            self._on_restarted()
            return

    # --- requests

    async def chat(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response:
        """As the engine's own. Raises :class:`RequestRefused` too: 422 for a request that has ended the engine."""
        trial = await self._admitted(asking["owner"], "chat", body)
        engine = self._engine
        return await self._tried(trial, engine, engine.chat(body, **asking))

    async def completion(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response:
        """As :meth:`chat`."""
        trial = await self._admitted(asking["owner"], "completion", body)
        engine = self._engine
        return await self._tried(trial, engine, engine.completion(body, **asking))

    async def _admitted(self, owner: str, kind: str, body: Mapping[str, Any]) -> Trial:
        self.require_running()
        trial = await self._suspects.admitted(self._suspects.fingerprint(owner, kind, body))
        if not self.is_healthy():  # it waited for its turn
            self._suspects.ended(trial, answered=None)
            raise restarting()
        return trial

    async def _tried(self, trial: Trial, engine: EngineLife, asked: Awaitable[Response]) -> Response:
        try:
            result = await asked
        except BaseException as error:
            took_no_part = isinstance(error, AdapterNotLoaded) or (
                isinstance(error, EngineRefused) and error.status < 500
            )
            self._suspects.ended(trial, answered=None if took_no_part else False)
            raise
        if isinstance(result, EventStream):
            task = asyncio.create_task(self._ended_with(trial, engine, result))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        else:
            self._suspects.ended(trial, answered=True)
        return result

    async def _ended_with(self, trial: Trial, engine: EngineLife, stream: EventStream) -> None:
        await stream.made()
        self._suspects.ended(trial, answered=stream.is_whole() and engine.is_healthy())

    # --- adapters: an engine that has ended raises EngineDead

    def loaded(self) -> tuple[str, ...]:
        return self._engine.loaded()

    async def listed(self) -> tuple[str, ...]:
        return await self._engine.listed()

    def inflight(self, digest: str) -> int:
        return self._engine.inflight(digest)

    async def load(self, digest: str, directory: Path, verify: Verify) -> None:
        await self._engine.load(digest, directory, verify)

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        return await self._engine.evict(digest, scrub=scrub)

    async def abort_all(self, digest: str) -> int:
        return await self._engine.abort_all(digest)

    def inflight_of(self, owner: str) -> int:
        return self._engine.inflight_of(owner)

    async def abort_all_of(self, owner: str) -> int:
        return await self._engine.abort_all_of(owner)

    async def reset_prefix_cache(self) -> bool:
        return await self._engine.reset_prefix_cache()
