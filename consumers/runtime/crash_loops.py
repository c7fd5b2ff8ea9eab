"""Detects crash loops: counts, in S3, processes that die while handling a record, and dead-letters it after a limit.

What a process counts in its memory ends with it, so each keeps one note for each partition that it has, which says
what it has in hand of it. It costs next to nothing as long as nothing happens: the note is written when the first
record of a partition is begun and once that has ended, and from then on says only that a process has the partition.
One that ends in good order notes that it has not. Whoever finds a partition that was not given up knows that its
process died, and is careful with what was there by then: before it begins any such record, or a few of one tenant at
once, it notes that it has them in hand, side by side with others; so it does with a record that failed and comes
again. A process that finds a list of records in hand tries each of them alone. A record that is found alone ended its
process. Such ends are counted, and after ``limit`` of them the record is passed over.

So a record that ends every process is found after at most two deaths that count for nobody. Restarts and rebalances
in good order count for nothing, however many. Neither does an outage: while the store is out nothing can be noted, and
nothing that would have to be is handled; while the bus is out, records are handled without being noted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError

from consumers.runtime.parsing import Partition, Record, event_of, partition_of
from consumers.runtime.poison import ENDS_ITS_PROCESS, Poison
from consumers.runtime.turns import Turns
from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.crash_marker import CrashMarker, CrashMarkers
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused, Transient
from tenancy.platform.logs import SCOPE
from tenancy.storage.objects import erase_prefix

logger = logging.getLogger(f"{SCOPE}.runtime")

Place = tuple[int, int]
"""A record's offset and timestamp."""

CAREFUL_RUN = 16
"""Records of a run that are noted at once: should it end the process, each of them is tried alone."""


@dataclass(eq=False)
class _Watch:
    """What this process knows of a partition that it has, and what its note says."""

    partition: Partition
    is_read: bool = False
    etag: str | None = None
    is_off: bool = False
    """Notes are refused here."""
    is_open: bool = False
    careful_below: int = 0
    """What was there when a process died, and may have been in its hands."""
    suspects: dict[Place, int] = field(default_factory=dict)
    """Records by which a process died, and how many died by each of them for certain."""
    tried: set[Place] = field(default_factory=set)
    """Suspects that had their turn alone, in this process."""
    failed: set[Place] = field(default_factory=set)
    """Records that come again, in this process."""
    in_hand: dict[Place, int] = field(default_factory=dict)
    alone: Place | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
    written: int = 0

    def again(self) -> _Watch:
        """For the same partition, once this process has it again."""
        known = {"is_read": self.is_read, "etag": self.etag, "is_off": self.is_off, "careful_below": self.careful_below}
        return _Watch(self.partition, suspects=self.suspects, tried=self.tried, **known)  # type: ignore[arg-type]


@dataclass
class CrashLoopGuard:
    """The records that one consumer has in hand.

    ``limit``: so many processes may end over one record. ``end``: the offset behind the last record of a partition, as
    far as that is known.
    """

    group_id: str
    tenancy: Tenancy
    limit: int
    end: Callable[[Partition], int | None]
    _watches: dict[Partition, _Watch] = field(default_factory=dict)
    _turns: Turns = field(default_factory=Turns)
    _alone: _Watch | None = None
    _session: str = field(default_factory=lambda: secrets.token_hex(8))

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """These and no others are this consumer's now. What it noted of those that it had before, it still knows."""
        self._watches = {p: self._watches.get(p) or _Watch(p) for p in partitions}

    @asynccontextmanager
    async def guarding(self, record: Record) -> AsyncIterator[None]:
        """Around one handling. Raises :class:`Poison` for a record over which too many processes ended, and
        :class:`Transient` where that cannot be found out, or not be noted.
        """
        watch, place = self._watches.get(partition_of(record)), _place(record)
        if watch is None:
            raise Transient("its partition is not this process's any more")
        if not watch.is_read:
            await self._look(watch)
        ended_processes = watch.suspects.get(place, 0)
        if ended_processes >= self.limit:
            raise Poison(ENDS_ITS_PROCESS, f"{ended_processes} processes ended over it", event_of(record))
        async with AsyncExitStack() as stack:
            if place in watch.suspects and place not in watch.tried:
                await stack.enter_async_context(self._turns.alone())
                watch.tried.add(place)
            else:
                await stack.enter_async_context(self._turns.beside_others())
            if self._watches.get(watch.partition) is not watch:
                raise Transient("its partition moved while it waited for its turn")
            async with self._in_hand(watch, [place]):
                yield

    def at_once(self, records: Sequence[Record]) -> int:
        """How many of these may be taken at once, from the first one on: none under suspicion, and a few where they
        have to be noted before they are begun.
        """
        watch = self._watches.get(partition_of(records[0]))
        if watch is None or not watch.is_read:
            return 0
        places = list(map(_place, records))
        known = (number for number, place in enumerate(places) if place in watch.suspects or place in watch.failed)
        unsuspected = next(known, len(places))
        if any(self._is_due(watch, place) for place in places[:unsuspected]):
            return min(unsuspected, CAREFUL_RUN)
        return unsuspected

    @asynccontextmanager
    async def guarding_run(self, records: Sequence[Record]) -> AsyncIterator[None]:
        """Around one handling of several records, see :meth:`at_once`. After a failure the first one comes alone."""
        watch = self._watches.get(partition_of(records[0]))
        async with self._turns.beside_others():
            if watch is None or self._watches.get(watch.partition) is not watch:
                raise Transient("its partition moved while it waited for its turn")
            async with self._in_hand(watch, list(map(_place, records))):
                yield

    @asynccontextmanager
    async def _in_hand(self, watch: _Watch, places: Sequence[Place]) -> AsyncIterator[None]:
        is_noted = await self._take(watch, places)
        try:
            yield
        except BaseException:
            watch.failed.add(places[0])
            raise
        finally:
            # This process lives, or ends in good order, whatever becomes of the records.
            self._put_down(watch, places)
            if is_noted:
                await self._written(watch)

    async def ended(self, record: Record) -> None:
        """It is over, and under no suspicion any more."""
        watch, place = self._watches.get(partition_of(record)), _place(record)
        if watch is None:
            return
        watch.failed.discard(place)
        if watch.suspects.pop(place, None) is not None:
            await self._written(watch)

    async def give_up(self, partitions: Collection[Partition], *, is_leaving: bool = False) -> None:
        """Note that this process has these partitions no more, but where something of them is still in hand.

        ``is_leaving``: and will not have them again; nothing is left of the note then. Otherwise :meth:`assigned` says
        which of them it has again, and nobody had them in between.
        """
        watches = [self._watches[p] for p in partitions if p in self._watches]
        for watch in watches:
            self._watches[watch.partition] = watch.again()
        await asyncio.gather(*(self._close(watch, is_leaving) for watch in watches))

    async def _close(self, watch: _Watch, is_leaving: bool) -> None:
        if not watch.is_open or watch.in_hand:
            return
        try:
            await self._write(watch, is_open=False)
            self._watches[watch.partition].etag = watch.etag
            if is_leaving and not watch.suspects:
                await erase_prefix(self.tenancy.objects, self._key(watch))
        except (Transient, Refused) as error:
            # Who has it next will be careful for nothing.
            logger.warning("in-hand note not cleared", extra={"error": type(error).__name__})

    async def _look(self, watch: _Watch) -> None:
        """Read what the process before has noted."""
        async with watch.reading:
            if watch.is_read:
                return
            try:
                stored = await self.tenancy.objects.get(self._key(watch))
                watch.etag = stored.etag
                held = read_tolerant(CrashMarkers, stored.body)
            except ObjectNotFound:
                watch.etag, held = None, None
            except ValidationError:
                held = None  # the next note is written over it
            except Refused as refusal:
                self._turn_off(watch, refusal)
                return
            if held is not None and held.session != self._session:
                watch.suspects = {
                    (record.offset, record.timestamp): record.ended_processes
                    + (held.is_open and held.alone == record.offset)
                    for record in held.records
                }
                if held.is_open:
                    watch.careful_below = self.end(watch.partition) or sys.maxsize
            watch.is_read = True

    async def _take(self, watch: _Watch, places: Sequence[Place]) -> bool:
        """Note the records as in hand, where that is due; whether they are noted."""
        is_due = any(self._is_due(watch, place) for place in places)
        is_noted = is_due and await self.tenancy.publisher.answers()
        is_alone = self._turns.inside == 1 and len(places) == 1
        if not (is_alone and is_noted) or self._alone is not watch:
            await self._be_no_more_alone()
        if not is_noted:
            return False
        watch.in_hand.update((place, watch.suspects.get(place, 0)) for place in places)
        if is_alone:
            self._alone, watch.alone = watch, places[0]
        try:
            await self._write(watch)
        except BaseException:
            self._put_down(watch, places)
            raise
        return True

    @staticmethod
    def _is_due(watch: _Watch, place: Place) -> bool:
        is_known = place in watch.suspects or place in watch.failed
        return not watch.is_off and (is_known or not watch.is_open or place[0] < watch.careful_below)

    async def _be_no_more_alone(self) -> None:
        """Before another record is begun, whoever noted that nothing else is in hand must have noted that something is:
        or it would count for that one if the other ended the process.
        """
        other = self._alone
        if other is not None:
            other.alone = None
            await self._write(other)

    @staticmethod
    def _put_down(watch: _Watch, places: Sequence[Place]) -> None:
        for place in places:
            watch.in_hand.pop(place, None)
        if watch.alone in places:
            watch.alone = None

    async def _written(self, watch: _Watch) -> None:
        try:
            await self._write(watch)
        except (Transient, Refused) as error:
            # The record has ended, or comes again: the next note is written over this one.
            logger.warning("in-hand note not cleared", extra={"error": type(error).__name__})

    async def _write(self, watch: _Watch, *, is_open: bool = True) -> None:
        """Write the note as it is to be now. Whoever waits while another one is written is in the next one, all at
        once.
        """
        watch.wanted += 1
        mine = watch.wanted
        async with watch.writing:
            if watch.is_off:
                self._is_said(watch)
            if watch.written >= mine or watch.is_off:
                return
            reached, note = watch.wanted, self._note(watch, is_open)
            try:
                watch.etag = await self.tenancy.objects.put(
                    self._key(watch),
                    note.model_dump_json().encode(),
                    if_absent=watch.etag is None,
                    if_match=watch.etag,
                )
            except (ObjectNotFound, PreconditionFailed):
                watch.is_read = watch.is_open = False
                watch.alone = None
                self._is_said(watch)
                raise Transient("another process has this partition in hand") from None
            except Refused as refusal:
                self._turn_off(watch, refusal)
                self._is_said(watch)
                return
            watch.written, watch.is_open = reached, is_open
            if note.alone is None:
                self._is_said(watch)

    def _is_said(self, watch: _Watch) -> None:
        """What is stored says no more that a record of this partition is alone, or counts for nothing."""
        if self._alone is watch and watch.alone is None:
            self._alone = None

    @staticmethod
    def _turn_off(watch: _Watch, refusal: Refused) -> None:
        """Rights that are missing must not end in dead letters: go on as if nothing were counted."""
        logger.error("crash counter not written", extra={"reason": refusal.code})
        watch.is_read = watch.is_off = True

    def _note(self, watch: _Watch, is_open: bool) -> CrashMarkers:
        records = sorted({**watch.suspects, **watch.in_hand}.items())
        return CrashMarkers(
            records=tuple(
                CrashMarker(offset=offset, timestamp=timestamp, ended_processes=ended)
                for (offset, timestamp), ended in records
            ),
            alone=watch.alone[0] if watch.alone is not None else None,
            is_open=is_open,
            session=self._session,
            since=self.tenancy.clock(),
        )

    def _key(self, watch: _Watch) -> str:
        return object_keys.record_in_hand(self.group_id, *watch.partition)


def _place(record: Record) -> Place:
    return record.offset, record.timestamp
