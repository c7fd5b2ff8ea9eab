"""Liveness that means progress: not that Kafka answers, but that this consumer gets on with its messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Watches one consumer's handling. It is stuck when a message is in hand for longer than it may be, or when
    redeliveries go on without a single success."""

    stuck_after_seconds: float
    failures_before_stop: int
    now: Callable[[], float] = time.monotonic
    consecutive_failures: int = 0
    handled: int = 0
    _in_hand_since: float | None = None
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    def begin(self) -> None:
        self._in_hand_since = self.now()
        self._idle.clear()

    def end(self, *, failed: bool) -> None:
        self._in_hand_since = None
        self.consecutive_failures = self.consecutive_failures + 1 if failed else 0
        self.handled += not failed
        self._idle.set()

    def is_alive(self) -> bool:
        stuck = self._in_hand_since is not None and self.now() - self._in_hand_since > self.stuck_after_seconds
        return not stuck and self.consecutive_failures < self.failures_before_stop

    async def wait_idle(self, bound_seconds: float) -> None:
        """Wait until nothing is in hand, at most ``bound_seconds``."""
        try:
            async with asyncio.timeout(bound_seconds):
                await self._idle.wait()
        except TimeoutError:
            return
