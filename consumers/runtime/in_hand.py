"""An event that ends its process each time it is handled: counted in the bucket, and passed over after a bound.

What a process counts in its memory ends with it. But an event that ended a process is the first one that the next
process gets of that partition, since everything before it was committed. So only the first record of a partition after
it was assigned is noted, before it is handled: as in hand, under one key for each group and partition. Whoever finds a
record noted as in hand that it has just been given knows that another process ended over it. Once the record is behind
it the note is erased and the partition costs nothing any more.

A process that ends in good order finishes or gives up what it has in hand first, and notes that; so restarts and
rebalances count for nothing, however many. Neither does an outage: while the store is out nothing can be noted, and
nothing is handled; while the bus is out, an event is handled without being noted.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError

from consumers.runtime.parsing import Record, event_of
from consumers.runtime.poison import ENDS_ITS_PROCESS, Poison
from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.crash_marker import RecordInHand
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused, Transient
from tenancy.service.telemetry import SCOPE
from tenancy.storage.objects import erase_prefix

logger = logging.getLogger(f"{SCOPE}.runtime")

Partition = tuple[str, int]


@dataclass(frozen=True)
class _Note:
    """What is stored for a partition, and the ETag that the next write must name; nothing is stored without one."""

    held: RecordInHand | None = None
    etag: str | None = None


@dataclass
class InHand:
    """The records that one consumer has in hand. Not for concurrent handlings: a consumer handles one after another.

    ``limit``: so many processes may end over one record.
    """

    group_id: str
    tenancy: Tenancy
    limit: int
    _owned: frozenset[Partition] = frozenset()
    _unproven: dict[Partition, _Note | None] = field(default_factory=dict)

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """These and no others are this consumer's now. What it knows of those that it had before, it still knows."""
        owned = frozenset((topic, partition) for topic, partition in partitions)
        self._unproven = {p: self._unproven.get(p) for p in owned if p in self._unproven or p not in self._owned}
        self._owned = owned

    @asynccontextmanager
    async def taken(self, record: Record) -> AsyncIterator[None]:
        """Around one handling. Raises :class:`Poison` for a record over which too many processes ended, and
        :class:`Transient` where that cannot be found out, or not be noted.
        """
        partition = (record.topic, record.partition)
        if partition not in self._unproven:
            yield
            return
        ended_processes = await self._take(partition, record)
        try:
            yield
        except Poison:
            # It ends in a dead letter and not this process: what is behind it need not be noted either.
            await self._get_past(partition)
            raise
        except BaseException:
            # This process lives, or ends in good order. The record comes again, here or elsewhere.
            await self._leave(partition, record, ended_processes)
            raise
        await self._get_past(partition)

    async def _take(self, partition: Partition, record: Record) -> int:
        """Note the record as in hand; how many processes ended over it so far."""
        try:
            note = self._unproven[partition] or await self._read(partition)
            before = note.held if note.held is not None and _is_of(note.held, record) else None
            ended_processes = before.ended_processes + before.is_in_hand if before else 0
            if ended_processes >= self.limit:
                raise Poison(ENDS_ITS_PROCESS, f"{ended_processes} processes ended over it", event_of(record))
            if await self.tenancy.publisher.answers():
                await self._write(partition, note, self._made(record, ended_processes, is_in_hand=True))
        except PreconditionFailed:
            self._unproven[partition] = None
            raise Transient("another process has this record in hand") from None
        except Refused as refusal:
            # Rights that are missing must not end in dead letters: go on as if nothing were counted.
            logger.error("crash counter not written", extra={"reason": refusal.code})
            self._unproven.pop(partition, None)
            return 0
        return ended_processes

    async def _leave(self, partition: Partition, record: Record, ended_processes: int) -> None:
        note = self._unproven.get(partition)
        if note is None or note.held is None or not note.held.is_in_hand:
            return
        try:
            await self._write(partition, note, self._made(record, ended_processes, is_in_hand=False))
        except (Transient, Refused, PreconditionFailed) as error:
            self._unproven[partition] = None
            logger.warning("in-hand note not cleared", extra={"error": type(error).__name__})

    async def _get_past(self, partition: Partition) -> None:
        note = self._unproven.pop(partition, None)
        if note is None or note.etag is None:
            return
        try:
            await erase_prefix(self.tenancy.objects, self._key(partition))
        except (Transient, Refused) as error:
            # It is behind this group: nobody is given it again, and the next note is written over this one.
            logger.warning("in-hand note not cleared", extra={"error": type(error).__name__})

    async def _read(self, partition: Partition) -> _Note:
        try:
            stored = await self.tenancy.objects.get(self._key(partition))
        except ObjectNotFound:
            return _Note()
        try:
            return _Note(read_tolerant(RecordInHand, stored.body), stored.etag)
        except ValidationError:
            return _Note(None, stored.etag)

    async def _write(self, partition: Partition, note: _Note, held: RecordInHand) -> None:
        body = held.model_dump_json().encode()
        try:
            etag = await self.tenancy.objects.put(
                self._key(partition), body, if_absent=note.etag is None, if_match=note.etag
            )
        except ObjectNotFound:
            raise PreconditionFailed from None  # another process got past it and erased the note
        self._unproven[partition] = _Note(held, etag)

    def _made(self, record: Record, ended_processes: int, *, is_in_hand: bool) -> RecordInHand:
        return RecordInHand(
            offset=record.offset,
            timestamp=record.timestamp,
            ended_processes=ended_processes,
            is_in_hand=is_in_hand,
            since=self.tenancy.clock(),
        )

    def _key(self, partition: Partition) -> str:
        return object_keys.record_in_hand(self.group_id, *partition)


def _is_of(held: RecordInHand, record: Record) -> bool:
    return (held.offset, held.timestamp) == (record.offset, record.timestamp)
