"""Counts which records of a partition have ended, and says what may be committed.

Records of one partition end in any order, since its tenants' lanes run side by side; Kafka commits one number. So what
is committed is the lowest offset that has not ended, and beside it, as the commit's metadata, which of those behind it
have: a process that goes on from there begins exactly what had not ended.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise

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
    """Of one partition, from its assignment to its revocation. Records are taken in the order of their offsets."""

    before: Ended | None = None
    """What had ended when the partition came to this process, as far as it lies behind what was taken."""
    _unfinished: deque[tuple[int, int]] = field(default_factory=deque)
    _ended: set[int] = field(default_factory=set)
    _next: int | None = None
    _committed: Committed | None = None

    def take(self, offset: int, timestamp: int) -> bool:
        """Count a record as taken; whether it is to be handled, or had ended before this process had the partition."""
        before = self.before
        if self._next is None and before is not None and (offset, timestamp) != (before.lowest, before.timestamp):
            before = self.before = None  # another place, or another topic of that name, than was committed
        self._next = offset + 1
        if before is not None:
            if offset in before:
                return False
            if offset >= before.end:
                self.before = None
        self._unfinished.append((offset, timestamp))
        return True

    def end(self, offset: int) -> None:
        """Count a record that was taken as ended."""
        self._ended.add(offset)
        while self._unfinished and self._unfinished[0][0] in self._ended:
            self._ended.discard(self._unfinished.popleft()[0])

    def committable(self) -> Committed | None:
        """What may be committed now; None when that is committed already, or nothing was taken."""
        if self._next is None:
            return None
        if self._unfinished:
            place = Committed(self._unfinished[0][0], self._metadata(*self._unfinished[0]))
        elif self.before is not None and self._next < self.before.end:
            return None  # the lowest that has not ended will be read in a moment, and all behind it be known again
        else:
            place = Committed(self._next)
        return None if place == self._committed else place

    def committed(self, place: Committed) -> None:
        """Kafka has it."""
        self._committed = place

    def _metadata(self, lowest: int, timestamp: int) -> str:
        runs = tuple(self._runs(lowest))
        return encoded(Ended(lowest, timestamp, runs)) if len(runs) > 1 else ""

    def _runs(self, lowest: int) -> Iterator[int]:
        """An offset in between that is nobody's (a marker of a transaction, say) counts as ended."""
        begun, place = lowest, lowest  # the open run that it is in
        for start, end in self._open():
            if start > place:
                yield from (place - begun, start - place)
                begun = start
            place = end
        yield place - begun
        end = max(self._next or 0, self.before.end if self.before is not None else 0)
        if end > place:
            yield end - place

    def _open(self) -> Iterator[tuple[int, int]]:
        """What has not ended: of what was taken, then of what is known of what follows."""
        yield from ((offset, offset + 1) for offset, _ in self._unfinished if offset not in self._ended)
        for start, end in self.before.open() if self.before is not None else ():
            behind = max(start, self._next or 0)
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
