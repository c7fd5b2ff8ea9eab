"""Counts which records of a partition have ended, and says what may be committed.

Records of one partition end in any order, since its tenants' lanes run side by side; Kafka commits one number: the
lowest offset that has not ended. A process that goes on from there handles once more what had ended behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from consumers.runtime.offset_ranges import OffsetRanges


@dataclass
class PartitionOffsets:
    """Of one partition, from its assignment to its revocation. Records are taken in the order of their offsets, and
    each is in memory or left on the broker until it has ended.
    """

    next: int | None = None
    """Behind everything that was taken."""
    _open: OffsetRanges = field(default_factory=OffsetRanges)
    """What was taken and has not ended."""
    _in_memory: set[int] = field(default_factory=set)
    """Of these, what is in memory."""
    _committed: int | None = None

    @property
    def pieces(self) -> int:
        """How many ranges what has not ended lies in: what remembering it costs."""
        return len(self._open)

    def take(self, offset: int) -> None:
        """Count a record as taken."""
        self.next = offset + 1
        self._open.append(offset)
        self._in_memory.add(offset)

    def leave(self, offset: int) -> None:
        """Count a record that was taken as left on the broker."""
        self._in_memory.discard(offset)

    def is_left(self, offset: int) -> bool:
        return offset not in self._in_memory and offset in self._open

    def take_again(self, offset: int) -> None:
        """Count a record that was left as in memory."""
        self._in_memory.add(offset)

    def end(self, offset: int) -> None:
        """Count a record in memory as ended."""
        self._in_memory.discard(offset)
        self._open.remove(offset, offset + 1)

    def lose(self, start: int, end: int) -> int:
        """Count as ended what was left from ``start`` to before ``end``, where the broker has nothing; how many."""
        if not self._open.meet(start, end):
            return 0
        bounds = [start - 1, *sorted(offset for offset in self._in_memory if start <= offset < end), end]
        return sum(self._open.remove(low + 1, high) for low, high in pairwise(bounds))

    def committable(self) -> int | None:
        """What may be committed now; None when that is committed already, or nothing was taken."""
        lowest = self._open.lowest
        place = self.next if lowest is None else lowest
        return None if place == self._committed else place

    def committed(self, place: int) -> None:
        """Kafka has it."""
        self._committed = place
