"""Remembers which lanes left records on the broker, and says where they are to be read again.

Of a lane that left one, whatever comes behind is left too, until it has all of them again. So its first one says it
all, and a flood costs one number however large it is. They are read again one partition at a time: those of all of its
lanes that have room, from the first one on, each lane's until it has its share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from consumers.runtime.parsing import Partition

LOW = 0.5
"""A lane that has less than this part of its share needs more."""

FillOf = Callable[[Partition, bytes | None], float]


@dataclass
class Again:
    """What is being read again: these lanes' records of a partition, from ``at`` on."""

    partition: Partition
    lanes: set[bytes | None]
    at: int


@dataclass
class LeftRecords:
    """By partition and lane, the offset of the first record that is not in memory."""

    again: Again | None = None
    _silent: Partition | None = None
    _first: dict[Partition, dict[bytes | None, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many lanes left records."""
        return sum(len(lanes) for lanes in self._first.values())

    def has(self, partition: Partition, lane: bytes | None) -> bool:
        """Whether the lane left records, so that what comes behind them is left too."""
        return lane in self._first.get(partition, ())

    def leave(self, partition: Partition, lane: bytes | None, offset: int) -> None:
        """From this record on the lane's are not in memory."""
        self._first.setdefault(partition, {})[lane] = offset
        again = self.again
        if again is not None and again.partition == partition:
            again.lanes.discard(lane)
            self.again = again if again.lanes else None

    def forget(self, partition: Partition) -> None:
        self._first.pop(partition, None)
        if self.again is not None and self.again.partition == partition:
            self.again = None

    def is_read(self, partition: Partition, lane: bytes | None) -> bool:
        """Whether the lane's records are being read again."""
        return self.again is not None and self.again.partition == partition and lane in self.again.lanes

    def place(self, fill_of: FillOf) -> tuple[Partition, int] | None:
        """Where to read again now; None while each lane has enough. ``fill_of``: which part of its share a lane has."""
        again = self.again = self.again or self._begin(fill_of)
        if again is None:
            return None
        first = self._first[again.partition]
        again.at = max(again.at, min(first[lane] for lane in again.lanes))
        return again.partition, again.at

    def _begin(self, fill_of: FillOf) -> Again | None:
        wanting = [
            (partition == self._silent, fill, partition)
            for partition, lanes in self._first.items()
            for lane in lanes
            if (fill := fill_of(partition, lane)) < LOW
        ]
        if not wanting:
            return None
        *_, partition = min(wanting)
        return Again(partition, {lane for lane in self._first[partition] if fill_of(partition, lane) < 1}, at=0)

    def gave_nothing(self) -> None:
        """Nothing came, as where a partition has no leader for a while: others have their turn first."""
        if self.again is not None:
            self._silent, self.again = self.again.partition, None

    def was_read(self, end: int) -> None:
        """It was read up to ``again.at``. Behind ``end`` nothing was taken yet, so that nothing was left."""
        again = self.again
        if again is not None and again.at >= end:
            first = self._first[again.partition]
            self._first[again.partition] = {lane: first[lane] for lane in first if lane not in again.lanes}
            self.again = None
