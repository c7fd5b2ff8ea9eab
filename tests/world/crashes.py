"""A process that dies at its n-th effect, right before or right after it."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tests.world.copies import Copies


class SimulatedCrash(BaseException):
    """SIGKILL in one process of the world: no handler may catch it."""


@dataclass
class CrashAt:
    """Counts every effect and, once, dies at one of them. Without a position it only records."""

    position: int | None = None
    when: str = "before"
    effects: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    """Whose effect each of ``effects`` is, as far as :meth:`of` was asked for an observer."""
    turns: list[int] = field(default_factory=list)
    """In which turn each of ``effects`` was. A turn is what one death ends: a handling, a look, an attempt."""
    has_crashed: bool = False
    turn: int = 0

    def begin_turn(self) -> None:
        """What follows is done by another process, or again by one that would have to begin it again."""
        self.turn += 1

    def before(self, effect: str, process: str = "") -> None:
        self.effects.append(effect)
        self.processes.append(process)
        self.turns.append(self.turn)
        self._crash_if("before")

    def after(self, effect: str) -> None:
        self._crash_if("after")

    def of(self, process: str) -> ProcessObserver:
        """An observer of one process, which dies in its turn."""
        return ProcessObserver(self, process)

    def _crash_if(self, when: str) -> None:
        if not self.has_crashed and self.position == len(self.effects) - 1 and self.when == when:
            self.has_crashed = True
            raise SimulatedCrash(self.effects[-1])


@dataclass
class CrashAtOne(CrashAt):
    """Dies at the ``number``-th of the effects that ``counts`` says yes to, while it is armed."""

    number: int = 1
    counts: Callable[[CrashAt, str], bool] = lambda crash, process: True
    passed: int = 0
    is_armed: bool = True

    def before(self, effect: str, process: str = "") -> None:
        super().before(effect, process)
        if self.is_armed and self.counts(self, process):
            self.passed += 1
            if self.passed == self.number:
                raise SimulatedCrash(effect)


@dataclass
class CrashAtKinds(CrashAt):
    """Dies, in one life, right before the first effect of each of these kinds, each a process and an effect."""

    kinds: set[tuple[str, str]] = field(default_factory=set)
    """Those that are to come."""

    def before(self, effect: str, process: str = "") -> None:
        super().before(effect, process)
        if (process, effect) in self.kinds:
            self.kinds.remove((process, effect))
            raise SimulatedCrash(effect)


def each_death(counts: Callable[[CrashAt, str], bool]) -> Iterator[CrashAtOne]:
    """A crash for a life with each such effect in turn, by the number of lives; the last life is over before it."""
    for number in itertools.count(1):
        crash = CrashAtOne(number=number, counts=counts)
        yield crash
        if crash.passed < number:
            return


@dataclass
class CrashAtEach(CrashAt):
    """Dies at each effect, in a copy of everything for each, while the original lives on undisturbed.

    Right after an effect only where that differs from right before the next: within a turn both leave the same, since
    what the process knew dies with it. ``undisturbed`` is a recording of the same life.
    """

    undisturbed: CrashAt = field(default_factory=CrashAt)
    first: int = 0
    of_a_kind: int | None = None
    """At most so many of one process's effects of one kind, from the first to the last of them; None: at all."""
    copies: Copies = field(default_factory=Copies)
    died: list[tuple[int, str]] = field(default_factory=list)
    """Where, in the order of what the copies said."""

    @cached_property
    def positions(self) -> Sequence[int]:
        """Which effects it dies at."""
        kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position in range(self.first, len(self.undisturbed.effects)):
            kinds[self.undisturbed.processes[position], self.undisturbed.effects[position]].append(position)
        return sorted(itertools.chain.from_iterable(spread(held, self.of_a_kind) for held in kinds.values()))

    def due(self) -> Sequence[tuple[int, str]]:
        """Every place to die at."""
        turns = [*self.undisturbed.turns, None]
        return [
            (position, when)
            for position in self.positions
            for when in ("before", "after")
            if when == "before" or turns[position + 1] != turns[position]
        ]

    def _crash_if(self, when: str) -> None:
        position = len(self.effects) - 1
        if self.copies.is_copy or position not in self.positions:
            return
        turns = self.undisturbed.turns
        if when == "after" and position + 1 < len(turns) and turns[position + 1] == turns[position]:
            return
        self.died.append((position, when))
        if self.copies.lives_on():
            self.has_crashed = True
            raise SimulatedCrash(self.effects[-1])


def spread(held: Sequence[int], most: int | None) -> Sequence[int]:
    """At most ``most`` of them, the first and the last among them, as far apart as can be."""
    if most is None or len(held) <= most:
        return held
    return [held[round(number * (len(held) - 1) / (most - 1))] for number in range(most)]


@dataclass(frozen=True)
class ProcessObserver:
    """Tells :class:`CrashAt` whose effects they are."""

    crash: CrashAt
    process: str

    def before(self, effect: str) -> None:
        self.crash.before(effect, self.process)

    def after(self, effect: str) -> None:
        self.crash.after(effect)
