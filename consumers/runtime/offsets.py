"""Counts which records of a partition have ended, and says what may be committed.

Records of one partition end in any order, since its tenants' lanes run side by side; Kafka commits one number. So what
is committed is the lowest offset that has not ended, and beside it, as the commit's metadata, which of those behind it
have: a process that goes on from there begins exactly what had not ended.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise

from consumers.runtime.offset_ranges import OffsetRanges

METADATA_CHARACTERS = 4000
"""Kafka takes 4096 by default (``offset.metadata.max.bytes``). What finds no room is begun once more."""


@dataclass(frozen=True)
class Committed:
    """A place in a partition: everything before ``offset`` has ended, and so has what ``metadata`` says."""

    offset: int
    metadata: str = ""


@dataclass
class Ended:
    """What had ended behind the lowest record that had not: nothing at ``lowest``, whose broker's time tells it from
    another record at its place in a topic that was made anew."""

    lowest: int
    timestamp: int
    runs: tuple[int, ...] = ()
    """Lengths in turn, from ``lowest`` on: so many that have not ended, so many that have, and so on."""
    _bounds: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._bounds = tuple(accumulate(self.runs, initial=self.lowest))

    @property
    def end(self) -> int:
        """Nothing is known of this offset and those behind it."""
        return self._bounds[-1]

    def __contains__(self, offset: int) -> bool:
        run = bisect_right(self._bounds, offset) - 1
        return 0 <= run < len(self.runs) and run % 2 == 1

    def open(self) -> Iterator[tuple[int, int]]:
        """What had not ended: each run's first offset, and the one behind it."""
        return islice(pairwise(self._bounds), 0, None, 2)


@dataclass
class PartitionOffsets:
    """Of one partition, from its assignment to its revocation. Records are taken in the order of their offsets, and
    each is in memory or left on the broker until it has ended.
    """

    before: Ended | None = None
    """What had ended when the partition came to this process, as far as it lies behind what was taken."""
    next: int | None = None
    """Behind everything that was taken."""
    _open: OffsetRanges = field(default_factory=OffsetRanges)
    """What was taken and has not ended."""
    _in_memory: dict[int, int] = field(default_factory=dict)
    """Of these, what is in memory: each offset's timestamp."""
    _first_left: dict[int, int] = field(default_factory=dict)
    """The same of the first that a lane has left, which may be the lowest of all."""
    _committed: Committed | None = None

    @property
    def pieces(self) -> int:
        """How many ranges what has not ended lies in: what remembering it costs."""
        return len(self._open)

    def take(self, offset: int, timestamp: int) -> bool:
        """Count a record as taken; whether it is to be handled, or had ended before this process had the partition."""
        before = self.before
        if self.next is None and before is not None and (offset, timestamp) != (before.lowest, before.timestamp):
            before = self.before = None  # another place, or another topic of that name, than was committed
        self.next = offset + 1
        if before is not None:
            if offset in before:
                return False
            if offset >= before.end:
                self.before = None
        self._open.append(offset)
        self._in_memory[offset] = timestamp
        return True

    def leave(self, offset: int, timestamp: int, *, is_first: bool) -> None:
        """Count a record that was taken as left on the broker. ``is_first``: no earlier one of its lane is."""
        self._in_memory.pop(offset, None)
        if is_first:
            self._first_left[offset] = timestamp

    def is_left(self, offset: int) -> bool:
        return offset not in self._in_memory and offset in self._open

    def take_again(self, offset: int, timestamp: int) -> None:
        """Count a record that was left as in memory."""
        self._first_left.pop(offset, None)
        self._in_memory[offset] = timestamp

    def end(self, offset: int) -> None:
        """Count a record in memory as ended."""
        self._in_memory.pop(offset, None)
        self._open.remove(offset, offset + 1)

    def lose(self, start: int, end: int) -> int:
        """Count as ended what was left from ``start`` to before ``end``, where the broker has nothing; how many."""
        if not self._open.meet(start, end):
            return 0
        for offset in [offset for offset in self._first_left if start <= offset < end]:
            del self._first_left[offset]
        bounds = [start - 1, *sorted(offset for offset in self._in_memory if start <= offset < end), end]
        return sum(self._open.remove(low + 1, high) for low, high in pairwise(bounds))

    def committable(self) -> Committed | None:
        """What may be committed now; None when that is committed already, or nothing was taken, or the lowest record is
        about to be read again.
        """
        if self.next is None:
            return None
        lowest = self._open.lowest
        if lowest is not None:
            timestamp = self._in_memory.get(lowest, self._first_left.get(lowest))
            if timestamp is None:
                return None
            place = Committed(lowest, self._metadata(lowest, timestamp))
        elif self.before is not None and self.next < self.before.end:
            return None  # the lowest that has not ended will be read in a moment, and all behind it be known again
        else:
            place = Committed(self.next)
        return None if place == self._committed else place

    def committed(self, place: Committed) -> None:
        """Kafka has it."""
        self._committed = place

    def _metadata(self, lowest: int, timestamp: int) -> str:
        runs = tuple(islice(self._runs(lowest), METADATA_CHARACTERS))
        return encoded(Ended(lowest, timestamp, runs)) if len(runs) > 1 else ""

    def _runs(self, lowest: int) -> Iterator[int]:
        """An offset in between that is nobody's (a marker of a transaction, say) counts as ended."""
        begun, place = lowest, lowest  # the open run that it is in
        for start, end in self._not_ended():
            if start > place:
                yield from (place - begun, start - place)
                begun = start
            place = end
        yield place - begun
        end = max(self.next or 0, self.before.end if self.before is not None else 0)
        if end > place:
            yield end - place

    def _not_ended(self) -> Iterator[tuple[int, int]]:
        """Of what was taken, then of what is known of what follows."""
        yield from self._open
        for start, end in self.before.open() if self.before is not None else ():
            behind = max(start, self.next or 0)
            if behind < end:
                yield behind, end


def encoded(ended: Ended) -> str:
    """As many of the runs as there is room for, as the metadata of a commit of ``ended.lowest``."""
    packed = bytearray()
    for number in (ended.timestamp, *ended.runs):
        piece = _varint(number)
        if (len(packed) + len(piece) + 2) * 4 // 3 > METADATA_CHARACTERS:
            break
        packed += piece
    return base64.b64encode(packed).decode()


def decoded(committed: Committed) -> Ended | None:
    """What a commit's metadata says; None where it says nothing, or is none of ours."""
    try:
        numbers = list(_numbers(base64.b64decode(committed.metadata, validate=True)))
    except (binascii.Error, ValueError):
        return None
    return Ended(committed.offset, numbers[0], tuple(numbers[1:])) if len(numbers) > 1 else None


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("cut off")
