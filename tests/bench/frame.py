"""What every benchmark shares: rounds in which ours and the peer take turns, medians, and their ratio."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ENTRY_SECONDS = 1800.0
"""No entry measures for longer than this."""

Step = Callable[[int], Awaitable[float]]
"""One measurement of one side; given the round, from 0."""


@dataclass(frozen=True)
class Options:
    """``quick`` makes everything small: it shows that an entry runs, not how fast anything is.

    ``gpu``: the engine is on one, with a base model of the shape of Llama 3 8B.
    ``proposals``: how many ``proposals_drain`` drains, which takes hours on a slow machine.
    ``tenants``: how many ``residency`` asks through one replica.
    """

    rounds: int
    quick: bool
    gpu: bool = False
    proposals: int = 50_000
    tenants: int = 2_000


@dataclass(frozen=True)
class Measured:
    """One value for each round."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "median": round(self.median, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "values": [round(value, 4) for value in self.values],
        }


@dataclass(frozen=True)
class Side:
    """Ours or the peer: what it is, what work it does, and what was measured."""

    name: str
    work: str
    measured: Measured


@dataclass(frozen=True)
class Result:
    """One entry's outcome. ``more``: what was measured beside; ``facts``: what is not one value for each round."""

    entry: str
    question: str
    better: Literal["higher", "lower"]
    ours: Side
    peer: Side
    more: Mapping[str, Measured] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours divided by the peer, of the medians."""
        return self.ours.measured.median / self.peer.measured.median

    @property
    def ratio_spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio that one round gave: both sides of a round see the same machine."""
        pairs = zip(self.ours.measured.values, self.peer.measured.values, strict=True)
        ratios = [ours / peer for ours, peer in pairs]
        return min(ratios), max(ratios)

    def as_json(self) -> dict[str, Any]:
        low, high = self.ratio_spread
        return {
            "entry": self.entry,
            "question": self.question,
            "better": self.better,
            "ratio": round(self.ratio, 4),
            "ratio_spread": [round(low, 4), round(high, 4)],
            "ours": {"name": self.ours.name, "work": self.ours.work, **self.ours.measured.as_json()},
            "peer": {"name": self.peer.name, "work": self.peer.work, **self.peer.measured.as_json()},
            "more": {name: measured.as_json() for name, measured in self.more.items()},
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class Entry:
    """A benchmark. ``run`` may write to the folder it is given and nowhere else; ``packages``: what it depends on."""

    name: str
    run: Callable[[Options, Path], Result]
    packages: tuple[str, ...]


async def interleaved(rounds: int, steps: Mapping[str, Step]) -> dict[str, tuple[float, ...]]:
    """Every step once in each round. Each round begins with another step, so that none always has the first turn."""
    names = list(steps)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = await steps[name](number)
            values[name].append(value)
            say(f"  round {number + 1} of {rounds}  {name}: {value:.4g}")
    return {name: tuple(measured) for name, measured in values.items()}


def say(line: str) -> None:
    """Progress, beside the results."""
    print(line, file=sys.stderr, flush=True)
