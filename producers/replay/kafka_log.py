"""The log of a Kafka cluster: assigned partitions, no group, nothing committed, committed messages only."""

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
SILENCE_SECONDS = 30.0
"""A partition that should have more and gives nothing for so long is out of reach."""


class KafkaLog:
    """See :func:`kafka_log`. It holds one consumer, so that one range is read at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer = consumer
        self._admin = admin

    async def ranges(
        self, topics: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[PartitionRange, ...]:
        with _translated():
            partitions = await self._partitions(topics)
            begins: dict[TopicPartition, int] = await self._consumer.beginning_offsets(partitions)
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
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
        found = await self._consumer.offsets_for_times(asked)
        return {partition: held.offset for partition, held in found.items() if held is not None}

    async def messages(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Message]:
        ends = {TopicPartition(r.topic, r.partition): r.end for r in ranges if r.begin < r.end}
        with _translated():
            self._consumer.assign(list(ends))
            for r in ranges:
                if r.begin < r.end:
                    self._consumer.seek(TopicPartition(r.topic, r.partition), r.begin)
        waiting: dict[TopicPartition, deque[ConsumerRecord]] = {partition: deque() for partition in ends}
        heads: list[tuple[int, TopicPartition]] = []
        for partition, end in ends.items():
            await self._refill(waiting[partition], partition, end)
            if waiting[partition]:
                heapq.heappush(heads, (waiting[partition][0].timestamp, partition))
        while heads:
            _, partition = heapq.heappop(heads)
            records = waiting[partition]
            yield _message(records.popleft())
            await self._refill(records, partition, ends[partition])
            if records:
                heapq.heappush(heads, (records[0].timestamp, partition))

    async def _refill(self, records: deque[ConsumerRecord], partition: TopicPartition, end: int) -> None:
        """Read on, if nothing is left in hand and there is more before ``end``."""
        heard = asyncio.get_running_loop().time()
        with _translated():
            position = await self._consumer.position(partition)
            while not records and position < end:
                fetched = await self._consumer.getmany(partition, timeout_ms=POLL_MS)
                records.extend(record for record in fetched.get(partition, ()) if record.offset < end)
                # It also moves over what is no message: the marks of transactions, and what was aborted.
                moved = await self._consumer.position(partition)
                now = asyncio.get_running_loop().time()
                if moved > position:
                    position, heard = moved, now
                elif now - heard > SILENCE_SECONDS:
                    raise BusUnavailable(f"the bus gave nothing of {partition.topic} for {SILENCE_SECONDS:g} s")

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        with _translated():
            found = await self._admin.list_consumer_group_offsets(group)
        return {(tp.topic, tp.partition): held.offset for tp, held in found.items() if held.offset >= 0}


@asynccontextmanager
async def kafka_log(client_settings: Mapping[str, Any]) -> AsyncIterator[KafkaLog]:
    """Connect for the life of a command. Raises :class:`BusUnavailable`."""
    consumer = AIOKafkaConsumer(
        **client_settings,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    admin = AIOKafkaAdminClient(**client_settings, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        with _translated():
            await consumer.start()
            await admin.start()
        yield KafkaLog(consumer, admin)
    finally:
        await consumer.stop()
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
