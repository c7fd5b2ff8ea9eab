"""Holds the records of one tenant in one partition that are in memory, and counts what they take."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from consumers.runtime.offsets import PartitionOffsets
from consumers.runtime.parsing import Partition, Record


@dataclass(frozen=True, kw_only=True)
class LaneLimits:
    """Bounds what one process holds.

    - ``side_by_side``: lanes with a record in hand.
    - ``records``, ``bytes``: in memory. From there on the lanes with most leave some on the broker. Where none has any
      to spare, no more should be taken until half are gone.
    - ``pieces``: ranges of offsets that have not ended, in one partition.
    - ``run``: records of one lane that an attempt is offered.
    """

    side_by_side: int
    records: int
    bytes: int
    pieces: int = 50_000
    run: int = 1


@dataclass
class InMemory:
    """Counts the records of all lanes, also of those whose partition moved while records were in hand."""

    records: int = 0
    bytes: int = 0

    def reaches(self, part: float, limits: LaneLimits) -> bool:
        """Whether records or bytes reach this part of their limit."""
        return self.records >= part * limits.records or self.bytes >= part * limits.bytes


@dataclass(eq=False)
class Lane:
    """``offered``: so many of its first records are in hand. ``is_dropped``: its partition moved."""

    key: bytes | None
    partition: Partition
    offsets: PartitionOffsets
    memory: InMemory
    records: deque[Record] = field(default_factory=deque)
    bytes: int = 0
    offered: int = 0
    is_dropped: bool = False

    def append(self, record: Record) -> None:
        self.records.append(record)
        self._count(record, 1)

    def pop_first(self, count: int) -> None:
        for _ in range(count):
            self._count(self.records.popleft(), -1)

    def pop_newest(self, kept: int) -> list[Record]:
        """Take away all but the first ``kept`` records, from the last one on."""
        newest = [self.records.pop() for _ in range(len(self.records) - kept)]
        for record in newest:
            self._count(record, -1)
        return newest

    def _count(self, record: Record, records: int) -> None:
        taken = records * size(record)
        self.bytes += taken
        self.memory.records += records
        self.memory.bytes += taken

    def fill(self, records: float, most_bytes: float) -> float:
        """Which part it has of so many records, or of so many bytes."""
        return max(len(self.records) / records, self.bytes / most_bytes)


def size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
