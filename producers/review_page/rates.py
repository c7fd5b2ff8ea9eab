"""Bounds how often one person, or one address that nobody has signed in from, may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

REMEMBERED = 4096
"""So many are told apart; of more, those that asked longest ago are forgotten."""


class TooOften(Exception):
    """Asked more often than allowed."""


@dataclass
class Rates:
    """A token bucket for each: ``per_minute`` at once, refilled over a minute. ``now`` is a monotonic clock."""

    per_minute: int
    now: Callable[[], float]
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, who: str) -> None:
        """Raises :class:`TooOften`."""
        now = self.now()
        left, at = self._left.pop(who, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - at) * self.per_minute / 60)
        self._left[who] = (max(0.0, left - 1), now)
        if len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        if left < 1:
            raise TooOften
