"""Reads a consumer's partitions into lanes, commits what has ended, and gives up what moves to another process."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetMetadataTooLargeError

from consumers.runtime.handling import Handling
from consumers.runtime.lanes import LaneScheduler
from consumers.runtime.offsets import Committed, Ended, decoded
from consumers.runtime.parsing import Partition, Record
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.reading_again import POLL_SECONDS, POLLED_RECORDS, OpenBackReader, ReadingAgain
from consumers.runtime.share import Share
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")

COMMIT_SECONDS = 0.5
"""Between two commits: after a kill, so much is begun once more at most."""
KAFKA_SECONDS = 5.0
"""For a commit, or for asking what was committed."""
NOTE_SECONDS = 5.0
"""For noting that partitions are given up. Who has them next is careful for nothing where that is not noted."""
AFTER_AN_ERROR_SECONDS = 2.0
IDLE_POLL_SECONDS = 1.0
"""While there is nothing to do until a record comes, which ends the poll: each poll takes a look at every partition."""


class Reader(Protocol):
    """What is used of aiokafka's consumer."""

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[Any, list[Record]]: ...

    async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None: ...

    def assignment(self) -> Collection[Any]: ...

    def pause(self, *partitions: Any) -> None: ...

    def resume(self, *partitions: Any) -> None: ...


class Reading(ConsumerRebalanceListener):  # type: ignore[misc]
    """One consumer's reading. It polls as long as it runs, also while memory is full or lanes are stuck: then its
    partitions are paused, and it stays a member of its group, whose other records go on.

    ``committed`` asks Kafka what the group has committed of some partitions. ``open_back_reader`` opens what reads
    again what lanes left on the broker.
    """

    def __init__(
        self,
        handling: Handling,
        policy: HandlingPolicy,
        committed: Callable[[Collection[Partition]], Awaitable[Mapping[Partition, Committed]]],
        share: Share,
        open_back_reader: OpenBackReader,
    ) -> None:
        self._share = share
        self._handling = handling
        self._policy = policy
        self._ask_committed = committed
        self._lanes = LaneScheduler(handling.attempt, policy.lanes, self._pause)
        self._again = ReadingAgain(self._lanes, open_back_reader)
        self._reader: Reader | None = None
        self._task: asyncio.Task[None] | None = None
        self._generation = 0
        self._is_assigned = asyncio.Event()
        self._keeps_metadata = True

    def start(self, reader: Reader) -> None:
        self._reader = reader
        self._task = asyncio.create_task(self._run(reader), name="reading")

    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Read no more, let what is in hand end within the time to stop, commit, and note that nothing is in hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._again.stop()
        await self._lanes.stop(self._policy.graceful_stop_seconds)
        if self._reader is not None:
            await self._commit(self._reader)
            held = [(topic, partition) for topic, partition in self._reader.assignment()]
            await self._give_up(held, is_leaving=True)
            self._reader = None

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """What is in hand ends and is committed before a partition moves; what waits for its turn is dropped."""
        self._generation += 1
        self._is_assigned.clear()
        partitions = [(topic, partition) for topic, partition in revoked]
        await self._lanes.revoke(partitions, self._policy.deadline_seconds + 5)
        if self._reader is not None:
            await self._commit(self._reader)
        self._lanes.forget(partitions)
        self._handling.revoked(partitions)
        await self._give_up(partitions)

    async def _give_up(self, partitions: Collection[Partition], *, is_leaving: bool = False) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTE_SECONDS):
                await self._handling.crash_loops.give_up(partitions, is_leaving=is_leaving)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        partitions = [(topic, partition) for topic, partition in assigned]
        known = await self._known_to_have_ended(partitions)
        self._handling.crash_loops.assigned(partitions)
        self._lanes.assign(partitions, known.get)
        self._share.assigned(partitions)
        self._is_assigned.set()

    async def _known_to_have_ended(self, partitions: Collection[Partition]) -> dict[Partition, Ended | None]:
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                committed = await self._ask_committed(partitions)
        except Exception as error:
            # What had ended behind the committed offset is handled once more, which does no harm.
            logger.warning("committed offsets not read", extra={"reason": safe_message(error)})
            return {}
        return {partition: decoded(place) for partition, place in committed.items()}

    async def _run(self, reader: Reader) -> None:
        due = time.monotonic()
        while True:
            try:
                await self._poll(reader)
                if time.monotonic() >= due:
                    await self._commit(reader)
                    due = time.monotonic() + COMMIT_SECONDS
            except ConsumerStoppedError:
                return
            except Exception as error:
                logger.error("reading failed", extra={"reason": safe_message(error)})
                await asyncio.sleep(AFTER_AN_ERROR_SECONDS)

    async def _poll(self, reader: Reader) -> None:
        full = self._lanes.full_partitions()
        for place in reader.assignment():
            (reader.pause if tuple(place) in full else reader.resume)(place)
        seconds = IDLE_POLL_SECONDS if self._lanes.is_idle() else POLL_SECONDS
        found = await reader.getmany(timeout_ms=int(seconds * 1000), max_records=POLLED_RECORDS)
        generation = self._generation
        await self._is_assigned.wait()
        if generation == self._generation:  # else they are read again, by whoever has them now
            for records in found.values():
                self._lanes.take(records)
            self._again.look()

    async def _commit(self, reader: Reader) -> None:
        held = {(topic, partition) for topic, partition in reader.assignment()}
        places = {p: place for p, place in self._lanes.committable().items() if p in held}
        if not places:
            return
        offsets = {
            TopicPartition(*p): (place.offset, place.metadata if self._keeps_metadata else "")
            for p, place in places.items()
        }
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                await reader.commit(offsets)
        except OffsetMetadataTooLargeError:
            self._keeps_metadata = False  # brokers may be set to take less
        except (KafkaError, TimeoutError) as error:
            logger.warning("not committed", extra={"reason": safe_message(error)})
        else:
            self._lanes.committed(places)

    def _pause(self) -> float:
        pause = self._policy.redelivery_pause_seconds
        return random.uniform(pause / 2, pause)  # noqa: S311 - jitter
