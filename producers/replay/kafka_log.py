"""Reads a Kafka cluster's log: assigned partitions, no group, commits nothing, committed messages only."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from producers.replay.log import Message, PartitionRange, Place, no_topic, removed_by_retention
from tenancy.errors import BusUnavailable

REQUEST_TIMEOUT_MS = 20_000
POLL_MS = 500
HELD = 2000
"""Messages of a partition that are held at most, and what one fetch brings on top."""
SILENCE_SECONDS = 30.0
"""A partition that should have more and gives nothing for so long is out of reach."""


class KafkaLog:
    """See :func:`kafka_log`. One consumer reads; the other, which is never assigned anything, asks for offsets: a new
    assignment makes a client forget the leaders of all other topics, and finding them again takes 0.1 s a topic.
    """

    def __init__(self, reader: AIOKafkaConsumer, asking: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._reader = reader
        self._asking = asking
        self._admin = admin

    async def ranges(
        self, topics: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[PartitionRange, ...]:
        with _translated():
            partitions = await self._partitions(topics)
            begins: dict[TopicPartition, int] = await self._asking.beginning_offsets(partitions)
            ends: dict[TopicPartition, int] = await self._asking.end_offsets(partitions)
            # Where nothing was appended at that moment or later, that is the end.
            froms = begins if since is None else {**ends, **await self._at(partitions, since)}
            untils = ends if until is None else {**ends, **await self._at(partitions, until)}
        found = []
        for partition in partitions:
            begin = max(begins[partition], froms[partition])
            end = max(begin, min(ends[partition], untils[partition]))
            found.append(PartitionRange(topic=partition.topic, partition=partition.partition, begin=begin, end=end))
        return tuple(found)

    async def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        # All topics are asked for: asking by name creates a missing one on the embedded bus.
        known = {topic["topic"]: topic["partitions"] for topic in await self._admin.describe_topics()}
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise no_topic(missing[0])
        return [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(partition["partition"] for partition in known[topic])
        ]

    async def _at(self, partitions: Sequence[TopicPartition], moment: datetime) -> dict[TopicPartition, int]:
        """The first offset at ``moment`` or later, of those partitions that have one."""
        asked = {partition: int(moment.timestamp() * 1000) for partition in partitions}
        found = await self._asking.offsets_for_times(asked)
        return {partition: held.offset for partition, held in found.items() if held is not None}

    async def messages(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Message]:
        ends = {TopicPartition(r.topic, r.partition): r.end for r in ranges if r.begin < r.end}
        if not ends:
            # Nor is anything assigned: a client that is stopped while it takes in that it has nothing to read misses
            # that it is cancelled, and is waited for in vain.
            return
        with _translated():
            self._reader.assign(list(ends))
            for r in ranges:
                if r.begin < r.end:
                    self._reader.seek(TopicPartition(r.topic, r.partition), r.begin)
        ahead = _Ahead(self._reader, ends)
        heads: list[tuple[int, TopicPartition]] = []
        for partition in ends:
            await ahead.push_next(partition, heads)
        while heads:
            _, partition = heapq.heappop(heads)
            yield _message(ahead.records[partition].popleft())
            await ahead.push_next(partition, heads)

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        with _translated():
            found = await self._admin.list_consumer_group_offsets(group)
        return {(tp.topic, tp.partition): held.offset for tp, held in found.items() if held.offset >= 0}


class _Ahead:
    """What was fetched and is not given out yet, by partition.

    All partitions are fetched from at once, since asking one after the other costs a round trip each. One that is far
    ahead of the others, or at its end, is paused: what is held stays bounded however long the ranges are.
    """

    def __init__(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        self.records: dict[TopicPartition, deque[ConsumerRecord]] = {partition: deque() for partition in ends}
        self._consumer = consumer
        self._ends = ends

    async def push_next(self, partition: TopicPartition, heads: list[tuple[int, TopicPartition]]) -> None:
        """Put the partition's next message among the heads, unless it has none before its end."""
        records, loop = self.records[partition], asyncio.get_running_loop()
        heard = loop.time()
        with _translated():
            if not records and partition in self._consumer.paused():
                self._consumer.resume(partition)
            while not records and (position := await self._consumer.position(partition)) < self._ends[partition]:
                await self._fetch()
                # A position also moves over what is no message: the marks of transactions, and what was aborted.
                if records or await self._consumer.position(partition) > position:
                    heard = loop.time()
                elif loop.time() - heard > SILENCE_SECONDS:
                    raise BusUnavailable(f"the bus gave nothing of {partition.topic} for {SILENCE_SECONDS:g} s")
        if records:
            heapq.heappush(heads, (records[0].timestamp, partition))

    async def _fetch(self) -> None:
        for partition, fetched in (await self._consumer.getmany(timeout_ms=POLL_MS)).items():
            held, end = self.records[partition], self._ends[partition]
            held.extend(record for record in fetched if record.offset < end)
            if len(held) >= HELD or await self._consumer.position(partition) >= end:
                self._consumer.pause(partition)


@asynccontextmanager
async def kafka_log(client_settings: Mapping[str, Any]) -> AsyncIterator[KafkaLog]:
    """Connect for the life of a command. Raises :class:`BusUnavailable`."""
    reader, asking = (
        AIOKafkaConsumer(
            **client_settings,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )
        for _ in range(2)
    )
    admin = AIOKafkaAdminClient(**client_settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with _translated():
            await reader.start()
            await asking.start()
            await admin.start()
        yield KafkaLog(reader, asking, admin)
    finally:
        await reader.stop()
        await asking.stop()
        await admin.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OffsetOutOfRangeError:
        raise removed_by_retention() from None
    except KafkaError as error:
        raise BusUnavailable(f"the bus did not answer: {type(error).__name__}") from None


def _message(record: ConsumerRecord) -> Message:
    return Message(
        place=Place(record.topic, record.partition, record.offset),
        time=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
