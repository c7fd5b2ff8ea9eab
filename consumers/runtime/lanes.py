"""Handles records in lanes, one for each tenant of a partition: lanes side by side, and each in order.

A lane is what a failing record concerns: it comes again there after a pause, and whatever else was taken goes on. Of
one tenant only one record is in hand at a time, also where its records come from several partitions; but a record that
waits for its next attempt holds up only the partition that it is of.

When memory is full, the lanes with most in it leave the newest half of that on the broker, and whatever comes behind.
So a flood delays nobody, however large it is: reading goes on behind it, and each lane's records are read again once it
has worked off what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any

from consumers.runtime.lane import InMemory, Lane, LaneLimits
from consumers.runtime.left_records import LeftRecords
from consumers.runtime.offsets import Committed, Ended, PartitionOffsets
from consumers.runtime.parsing import Partition, Record, lane_key, partition_of
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")

Attempt = Callable[[Sequence[Record]], Coroutine[Any, Any, int]]
"""Handles the first of a lane's next records once, or several of them together; how many, from the first on, have
ended: acknowledged, dead-lettered or sent back. What it raises is logged, and is as if none had.
"""


class LaneScheduler:
    """Shares records out into lanes. ``pause`` says how long a record waits that has not ended, in seconds."""

    def __init__(self, attempt: Attempt, limits: LaneLimits, pause: Callable[[], float]) -> None:
        self._attempt = attempt
        self._limits = limits
        self._pause = pause
        self._offsets: dict[Partition, PartitionOffsets] = {}
        self._left = LeftRecords()
        self._lanes: dict[tuple[Partition, bytes | None], Lane] = {}
        self._ready: deque[Lane] = deque()
        self._behind: dict[bytes | None, deque[Lane]] = {}
        self._turns: dict[asyncio.Task[int], Lane] = {}
        self._memory = InMemory()
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
            if offsets is None:
                continue
            if offsets.next is not None and record.offset < offsets.next:
                offsets = self._begin_anew(partition)
            if not offsets.take(record.offset, record.timestamp):
                continue
            key = lane_key(record)
            if self._left.has(partition, key):
                offsets.leave(record.offset, record.timestamp, is_first=False)
            else:
                self._append(partition, key, record)
        self._leave_what_is_too_much()
        self._fill()

    def _begin_anew(self, partition: Partition) -> PartitionOffsets:
        """Its log is another one from there on, as after a leader was lost that others had not followed."""
        self._drop([partition])
        self._offsets[partition] = PartitionOffsets()
        return self._offsets[partition]

    def _append(self, partition: Partition, key: bytes | None, record: Record) -> None:
        lane = self._lanes.get((partition, key))
        if lane is None:
            lane = self._lanes[partition, key] = Lane(key, partition, self._offsets[partition], self._memory)
            self._ready.append(lane)
        lane.append(record)

    def _leave_what_is_too_much(self) -> None:
        limits, before = self._limits, self._memory.records + 1
        while self._memory.reaches(1.0, limits) and self._memory.records < before:
            before = self._memory.records
            for lane in sorted(self._lanes.values(), key=lambda lane: -lane.fill(limits.records, limits.bytes)):
                self._leave_newest_half(lane)
                if not self._memory.reaches(1.0, limits):
                    return

    def _leave_newest_half(self, lane: Lane) -> None:
        kept = max(lane.offered, (len(lane.records) + 1) // 2)
        newest = lane.pop_newest(kept)
        for record in newest:
            lane.offsets.leave(record.offset, record.timestamp, is_first=record is newest[-1])
        if newest:
            self._left.leave(lane.partition, lane.key, newest[-1].offset)

    def has_left(self) -> bool:
        """Whether there are records to be read again."""
        return len(self._left) > 0

    def to_read_again(self) -> tuple[Partition, int] | None:
        """Of which partition records are to be read again now, and from which offset on, into :meth:`take_again`."""
        if self._is_closing or self.is_full():
            return None
        return self._left.place(self._fill_of)

    def take_again(self, partition: Partition, records: Iterable[Record], position: int) -> None:
        """Take of these records what was left and has room: all that the broker has from the place that was asked for
        up to ``position``. What it has no more has ended; none is to be waited for.
        """
        again, lost = self._left.again, 0
        if again is None or again.partition != partition:
            return  # it moved
        if position <= again.at:
            self._left.gave_nothing()
            return
        offsets = self._offsets[partition]
        for record in records:
            lost += offsets.lose(again.at, record.offset)
            again.at = record.offset + 1
            if offsets.is_left(record.offset):
                self._take_left(record, offsets)
            if self._left.again is not again:
                break  # each has its share
        else:
            lost += offsets.lose(again.at, position)
            again.at = max(again.at, position)
            self._left.was_read(offsets.next or 0)
        if lost:
            details = {"topic": partition[0], "partition": partition[1], "events": lost}
            logger.error("events were removed by retention before they were handled", extra=details)
        self._leave_what_is_too_much()
        self._fill()

    def _take_left(self, record: Record, offsets: PartitionOffsets) -> None:
        partition, key = partition_of(record), lane_key(record)
        if not self._left.is_read(partition, key):
            return
        if self._fill_of(partition, key) < 1:
            offsets.take_again(record.offset, record.timestamp)
            self._append(partition, key, record)
        else:
            offsets.leave(record.offset, record.timestamp, is_first=True)
            self._left.leave(partition, key, record.offset)

    def _fill_of(self, partition: Partition, key: bytes | None) -> float:
        """Which part of its share a lane has that left records. All such lanes together have half of the memory."""
        lane = self._lanes.get((partition, key))
        share, limits = 2 * len(self._left), self._limits
        return lane.fill(min(4 * limits.run, limits.records / share), limits.bytes / share) if lane else 0.0

    def is_full(self) -> bool:
        """Whether no more should be taken for now."""
        self._was_full = self._memory.reaches(0.5 if self._was_full else 1.0, self._limits)
        return self._was_full

    def is_idle(self) -> bool:
        """Whether every record has been handled and committed."""
        return not (self._memory.records or self.has_left() or self.committable())

    def full_partitions(self) -> set[Partition]:
        """Those of which no more should be taken for now."""
        if self.is_full():
            return set(self._offsets)
        return {partition for partition, held in self._offsets.items() if held.pieces >= self._limits.pieces}

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
        self._drop(partitions)
        await self._ended({task for task, lane in self._turns.items() if lane.partition in partitions}, bound_seconds)

    def forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._offsets.pop(partition, None)

    async def stop(self, bound_seconds: float) -> None:
        """Begin nothing more, let what is in hand end, and cancel what has not within the bound."""
        self._is_closing = True
        self._drop(list(self._offsets))
        await self._ended(set(self._turns), bound_seconds)
        left = set(self._turns)
        for task in left:
            task.cancel()
        await self._ended(left, None)

    @staticmethod
    async def _ended(turns: set[asyncio.Task[int]], bound_seconds: float | None) -> None:
        if turns:
            await asyncio.wait(turns, timeout=bound_seconds)

    def _drop(self, partitions: Collection[Partition]) -> None:
        """Forget what was taken of them. A lane's first records may be in hand, and are counted until they are not."""
        for partition in partitions:
            self._left.forget(partition)
        for lane in [lane for lane in self._lanes.values() if lane.partition in partitions]:
            lane.is_dropped = True
            del self._lanes[lane.partition, lane.key]
            lane.pop_newest(lane.offered)

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
            lane.offered = self._offer(lane)
            task = asyncio.create_task(self._attempt(list(islice(lane.records, lane.offered))), name="lane")
            self._turns[task] = lane
            task.add_done_callback(self._over)

    def _offer(self, lane: Lane) -> int:
        """How many records an attempt is offered. Those in hand cannot be left on the broker: all lanes together, of
        which the first took what they got alone, leave room for others.
        """
        limits = self._limits
        part = 4 * min(limits.side_by_side, len(self._turns) + len(self._ready) + 1)
        in_bytes = len(lane.records) * limits.bytes // (part * max(1, lane.bytes))
        return max(1, min(len(lane.records), limits.run, limits.records // part, in_bytes))

    def _over(self, task: asyncio.Task[int]) -> None:
        lane = self._turns.pop(task)
        # Before this lane, so that none of a tenant's partitions waits for all of another.
        self._ready.extend(self._behind.pop(lane.key, ()))
        ended = 0 if task.cancelled() else self._ended_by(task)
        for record in islice(lane.records, ended):
            lane.offsets.end(record.offset)
        lane.pop_first(len(lane.records) if lane.is_dropped else ended)
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

    def _come_again(self, lane: Lane) -> None:
        self._ready.append(lane)
        self._fill()
