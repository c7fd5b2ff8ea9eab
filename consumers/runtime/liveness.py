"""Reports liveness as progress: not that Kafka answers, but that this consumer gets through its backlog."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Watches one consumer's handlings, which go on side by side.

    It is stuck when any message is in hand for longer than it may be, or when so many handlings in a row have failed,
    of whichever lanes, without a single success between them. So a lane that fails for ever stops nothing as long as
    others get on, and what fails everywhere, as a bad deploy does, stops everything.
    """

    stuck_after_seconds: float
    failures_before_stop: int
    now: Callable[[], float] = time.monotonic
    consecutive_failures: int = 0
    handled: int = 0
    _in_hand_since: dict[int, float] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def begin(self) -> int:
        """A message is in hand: under a number by which to say how that ends."""
        number = next(self._numbers)
        self._in_hand_since[number] = self.now()
        return number

    def fail(self) -> None:
        """Count a failure of ours."""
        self.consecutive_failures += 1

    def end(self, number: int, *, has_succeeded: bool = False) -> None:
        del self._in_hand_since[number]
        if has_succeeded:
            self.consecutive_failures = 0
            self.handled += 1

    def is_alive(self) -> bool:
        return not self._is_stuck() and self.consecutive_failures < self.failures_before_stop

    def _is_stuck(self) -> bool:
        begun = min(tuple(self._in_hand_since.values()), default=None)  # copied at once: another thread may ask
        return begun is not None and self.now() - begun > self.stuck_after_seconds
