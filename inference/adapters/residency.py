"""Decides which adapters stay loaded: LRU eviction, never of an adapter that a request needs, and of a pinned one only
where every other is in use.

Pure bookkeeping on one event loop: no engine, no clock of its own, no lock. A request *reserves* its adapter before
the first await and *releases* it when its answer has ended, so between admission and finish the adapter is never
offered for eviction. ``now`` is seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ResidencyPolicy:
    """``max_resident`` adapters at once, at most the engine's ``max_cpu_loras``; one that nobody asked for during
    ``idle_seconds`` is offered for eviction although there is room, so that weights do not stay in memory for ever.
    """

    max_resident: int
    idle_seconds: float


@dataclass(eq=False)
class Reservation:
    """One request's hold on an adapter. A value of its own rather than a count, so that a release that comes late,
    after the adapter was dropped and given a new place, cannot free somebody else's hold.
    """

    digest: str


@dataclass
class _Place:
    last_used: float
    held: set[Reservation] = field(default_factory=set)
    withdrawn: bool = False


class Pinned(Protocol):
    """The adapters that stay loaded while others can make room."""

    def __contains__(self, digest: str, /) -> bool: ...


class Withdrawn(Exception):
    """The adapter is on its way out: nothing new may use it until it is dropped."""


class NoRoom(Exception):
    """Every resident adapter is in use, so none can make room. Try again when a request has ended."""


class Residency:
    """The adapters that are loaded or being loaded, in order of last use."""

    def __init__(self, policy: ResidencyPolicy, clock: Callable[[], float], pinned: Pinned = frozenset()) -> None:
        self._policy = policy
        self._clock = clock
        self._pinned = pinned
        self._places: OrderedDict[str, _Place] = OrderedDict()  # least recently used first

    def reserve(self, digest: str) -> Reservation:
        """Hold a place for one request.

        Call :meth:`victim` until it gives ``None``, then this without an await between. The place exists from here
        on, so concurrent requests for different adapters cannot together exceed ``max_resident``. Raises
        :class:`Withdrawn` for an adapter that is being evicted, and :class:`NoRoom` where there is no free place.
        """
        place = self._places.get(digest)
        if place is not None and place.withdrawn:
            raise Withdrawn(f"{digest} is being withdrawn")
        reservation = Reservation(digest)
        if place is None:
            if len(self._places) >= self._policy.max_resident:
                raise NoRoom(f"{self._policy.max_resident} adapters are resident")
            place = self._places[digest] = _Place(self._clock())
        place.held.add(reservation)
        self.note_use(digest)
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Give the hold back. A second release, and one after the adapter was dropped, changes nothing."""
        place = self._places.get(reservation.digest)
        if place is not None and reservation in place.held:
            place.held.remove(reservation)
            self.note_use(reservation.digest)

    def note_use(self, digest: str) -> None:
        """The adapter was used now."""
        self._places[digest].last_used = self._clock()
        self._places.move_to_end(digest)

    def victim(self, wanted: str) -> str | None:
        """The adapter to evict before ``wanted`` can be reserved; ``None`` if it is resident or there is room.

        Raises :class:`NoRoom` if every place is reserved or already on its way out.
        """
        if wanted in self._places or len(self._places) < self._policy.max_resident:
            return None
        free = [digest for digest, place in self._places.items() if not place.held and not place.withdrawn]
        if not free:
            raise NoRoom(f"all {self._policy.max_resident} resident adapters are in use")
        # A pinned one last: a request that would be refused for want of room is worse than a load that comes again.
        return next((digest for digest in free if digest not in self._pinned), free[0])

    def idle(self) -> tuple[str, ...]:
        """Adapters that no request holds, none has used for ``idle_seconds``, and nothing pins, least recently used
        first.
        """
        until = self._clock() - self._policy.idle_seconds
        return tuple(
            digest
            for digest, place in self._places.items()
            if not place.held and not place.withdrawn and place.last_used <= until and digest not in self._pinned
        )

    def begin_eviction(self, digest: str) -> int:
        """Admit nothing more for the adapter; returns the reservations still to be drained or aborted.

        The first step of an eviction, before any await: a request admitted after it would lose its adapter.
        An adapter that is not resident is given a withdrawn place, so that no load can start during its purge.
        """
        place = self._places.setdefault(digest, _Place(self._clock()))
        place.withdrawn = True
        return len(place.held)

    def drop(self, digest: str) -> None:
        """The adapter is no longer loaded, or its load failed: its place is free."""
        self._places.pop(digest, None)

    def is_needed(self, digest: str) -> bool:
        """Whether a request holds the adapter, or it is on its way out."""
        place = self._places.get(digest)
        return place is not None and (place.withdrawn or bool(place.held))

    def reservations(self, digest: str) -> int:
        """How many requests hold the adapter now."""
        place = self._places.get(digest)
        return 0 if place is None else len(place.held)

    def resident(self) -> tuple[str, ...]:
        """All adapters with a place, least recently used first."""
        return tuple(self._places)
