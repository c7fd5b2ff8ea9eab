"""Holds the records of one tenant in one partition that are in memory, and counts what they take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumers.runtime.offsets import PartitionOffsets
from consumers.runtime.parsing import Partition, Record


@dataclass(frozen=True, kw_only=True)
class LaneLimits:
    """``side_by_side``: so many records are in hand at once. ``records``, ``bytes``: with so many in memory the lanes
    with most of them leave some on the broker; where none has any to spare, no more should be taken until half of them
    are gone. ``pieces``: in so many ranges what has not ended of a partition may lie. ``run``: so many of a lane an
    attempt is offered.
    """

    side_by_side: int
    records: int
    bytes: int
    pieces: int = 50_000
    run: int = 1


@dataclass(eq=False)
class Lane:
    """``offered``: so many of its first records are in hand. ``is_dropped``: its partition moved."""

    key: bytes | None
    partition: Partition
    offsets: PartitionOffsets
    records: deque[Record] = field(default_factory=deque)
    bytes: int = 0
    offered: int = 0
    is_dropped: bool = False

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.bytes += size(record)

    def pop_first(self) -> Record:
        return self._popped(self.records.popleft())

    def pop_newest(self, kept: int) -> Iterator[Record]:
        """Take away all but the first ``kept`` records, from the last one on."""
        while len(self.records) > kept:
            yield self._popped(self.records.pop())

    def _popped(self, record: Record) -> Record:
        self.bytes -= size(record)
        return record

    def fill(self, records: float, most_bytes: float) -> float:
        """Which part it has of so many records, or of so many bytes."""
        return max(len(self.records) / records, self.bytes / most_bytes)


def size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
