"""Handles records in lanes, one for each tenant of a partition: lanes side by side, and each in order.

A lane is what a failing record concerns: it comes again there after a pause, and whatever else was taken goes on. Of
one tenant only one record is in hand at a time, also where its records come from several partitions; but a record that
waits for its next attempt holds up only the partition that it is of.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from consumers.runtime.offsets import Committed, Ended, PartitionOffsets
from consumers.runtime.parsing import Partition, Record, lane_key, partition_of
from tenancy.service.telemetry import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")

Attempt = Callable[[Sequence[Record]], Coroutine[Any, Any, int]]
"""Handles the first of a lane's next records once, or several of them together; how many, from the first on, have
ended: acknowledged, dead-lettered or sent back. What it raises is logged, and is as if none had.
"""


@dataclass(frozen=True, kw_only=True)
class LaneLimits:
    """``side_by_side``: so many records are in hand at once. ``records``, ``bytes``: with so many in memory no more
    should be taken, until half of them are gone. ``run``: so many of a lane an attempt is offered.
    """

    side_by_side: int
    records: int
    bytes: int
    run: int = 1


@dataclass(eq=False)
class _Lane:
    key: bytes | None
    partition: Partition
    offsets: PartitionOffsets
    records: deque[Record] = field(default_factory=deque)
    offered: int = 0
    is_dropped: bool = False


class LaneScheduler:
    """Shares records out into lanes. ``pause`` says how long a record waits that has not ended, in seconds."""

    def __init__(self, attempt: Attempt, limits: LaneLimits, pause: Callable[[], float]) -> None:
        self._attempt = attempt
        self._limits = limits
        self._pause = pause
        self._offsets: dict[Partition, PartitionOffsets] = {}
        self._lanes: dict[tuple[Partition, bytes | None], _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._behind: dict[bytes | None, deque[_Lane]] = {}
        self._turns: dict[asyncio.Task[int], _Lane] = {}
        self._records = self._bytes = 0
        self._was_full = self._is_closing = False

    def assign(self, partitions: Iterable[Partition], ended: Callable[[Partition], Ended | None]) -> None:
        """These partitions are this process's from now on. ``ended``: what is known to have ended of them before."""
        for partition in partitions:
            self._offsets[partition] = PartitionOffsets(ended(partition))

    def take(self, records: Iterable[Record]) -> None:
        """Take records, in the order of their offsets. Those of partitions that are not this process's are let be."""
        for record in records:
            partition = partition_of(record)
            offsets = self._offsets.get(partition)
            if offsets is None or not offsets.take(record.offset, record.timestamp):
                continue
            key = lane_key(record)
            lane = self._lanes.get((partition, key))
            if lane is None:
                lane = self._lanes[partition, key] = _Lane(key, partition, offsets)
                self._ready.append(lane)
            lane.records.append(record)
            self._records += 1
            self._bytes += _size(record)
        self._fill()

    def is_full(self) -> bool:
        """Whether no more should be taken for now."""
        share = 2 if self._was_full else 1
        limits = self._limits
        self._was_full = share * self._records >= limits.records or share * self._bytes >= limits.bytes
        return self._was_full

    def committable(self, partitions: Collection[Partition] | None = None) -> dict[Partition, Committed]:
        """What may be committed and is not yet, of these partitions or of all."""
        chosen = self._offsets if partitions is None else partitions
        places = {p: self._offsets[p].committable() for p in chosen if p in self._offsets}
        return {partition: place for partition, place in places.items() if place is not None}

    def committed(self, places: dict[Partition, Committed]) -> None:
        for partition, place in places.items():
            if partition in self._offsets:
                self._offsets[partition].committed(place)

    async def revoke(self, partitions: Collection[Partition], bound_seconds: float) -> None:
        """Begin nothing more of these partitions, forget what waits, and let what is in hand end, within a bound.

        What may be committed of them is known until :meth:`forget`. What is still in hand then goes on to its end,
        which nobody commits; a record of its tenant that comes again is not begun before.
        """
        for lane in [lane for lane in self._lanes.values() if lane.partition in partitions]:
            self._drop(lane)
        await self._ended({task for task, lane in self._turns.items() if lane.partition in partitions}, bound_seconds)

    def forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._offsets.pop(partition, None)

    async def stop(self, bound_seconds: float) -> None:
        """Begin nothing more, let what is in hand end, and cancel what has not within the bound."""
        self._is_closing = True
        for lane in list(self._lanes.values()):
            self._drop(lane)
        await self._ended(set(self._turns), bound_seconds)
        left = set(self._turns)
        for task in left:
            task.cancel()
        await self._ended(left, None)

    @staticmethod
    async def _ended(turns: set[asyncio.Task[int]], bound_seconds: float | None) -> None:
        if turns:
            await asyncio.wait(turns, timeout=bound_seconds)

    def _drop(self, lane: _Lane) -> None:
        """Its first records may be in hand, and are counted until they are not."""
        lane.is_dropped = True
        del self._lanes[lane.partition, lane.key]
        while len(lane.records) > lane.offered:
            self._discount(lane.records.pop())

    def _discount(self, record: Record) -> None:
        self._records -= 1
        self._bytes -= _size(record)

    def _fill(self) -> None:
        busy = {lane.key for lane in self._turns.values()}
        while self._ready and len(self._turns) < self._limits.side_by_side and not self._is_closing:
            lane = self._ready.popleft()
            if lane.is_dropped:
                continue
            if lane.key is not None and lane.key in busy:
                self._behind.setdefault(lane.key, deque()).append(lane)
                continue
            busy.add(lane.key)
            records = list(islice(lane.records, self._limits.run))
            lane.offered = len(records)
            task = asyncio.create_task(self._attempt(records), name="lane")
            self._turns[task] = lane
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[int]) -> None:
        lane = self._turns.pop(task)
        # Before this lane, so that none of a tenant's partitions waits for all of another.
        self._ready.extend(self._behind.pop(lane.key, ()))
        ended = 0 if task.cancelled() else self._ended_by(task)
        for record in islice(lane.records, ended):
            lane.offsets.end(record.offset)
        for _ in range(len(lane.records) if lane.is_dropped else ended):
            self._discount(lane.records.popleft())
        lane.offered = 0
        if lane.records and ended:
            self._ready.append(lane)
        elif lane.records:
            asyncio.get_running_loop().call_later(self._pause(), self._come_again, lane)
        elif not lane.is_dropped:
            del self._lanes[lane.partition, lane.key]
        self._fill()

    @staticmethod
    def _ended_by(task: asyncio.Task[int]) -> int:
        error = task.exception()
        if error is None:
            return task.result()
        logger.error("record given back unhandled", extra={"reason": safe_message(error)})
        return 0

    def _come_again(self, lane: _Lane) -> None:
        self._ready.append(lane)
        self._fill()


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
