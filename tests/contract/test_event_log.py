"""Event logs: the one in memory and Apache Kafka's give a reader the same messages, and keep the same promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from deploy.local.kafka import KafkaCluster
from producers.replay.kafka_log import kafka_log
from producers.replay.log import EventLog, Message, Place
from tenancy.errors import Refused
from tests.world.memory_log import MemoryLog

_numbers = itertools.count()
HEADERS = (("ce_id", b"x"), ("null", None), ("bytes", b"\xff"))


@dataclass
class Cluster:
    """A log, and what others do to its two topics of two partitions."""

    log: EventLog
    topics: tuple[str, str]
    append: Callable[[str, int, bytes], Awaitable[None]]
    remove: Callable[[str, int, int], Awaitable[None]]
    commit: Callable[[str, str, int, int], Awaitable[None]]
    groups: Callable[[], Awaitable[set[str]]]


def in_memory() -> Cluster:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    log = MemoryLog(lambda: now[0])
    topics = ("log-a", "log-b")
    log.topics |= {topic: [[], []] for topic in topics}

    async def append(topic: str, partition: int, value: bytes) -> None:
        now[0] += timedelta(milliseconds=20)
        held = log.topics[topic][partition]
        held.append(Message(Place(topic, partition, len(held)), now[0], b"k", value, HEADERS))

    async def remove(topic: str, partition: int, before: int) -> None:
        log.remove(topic, partition, before)

    async def commit(group: str, topic: str, partition: int, offset: int) -> None:
        log.handled.setdefault(group, {})[(topic, partition)] = offset

    async def groups() -> set[str]:
        return set(log.handled)

    return Cluster(log, topics, append, remove, commit, groups)


async def on_kafka(bootstrap: str, stack: AsyncExitStack) -> Cluster:
    number = next(_numbers)
    topics = (f"log-a-{number}", f"log-b-{number}")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    stack.push_async_callback(admin.close)
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=config) for topic in topics])
    stack.push_async_callback(admin.delete_topics, list(topics))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    stack.push_async_callback(producer.stop)
    log = await stack.enter_async_context(kafka_log({"bootstrap_servers": bootstrap}))

    async def append(topic: str, partition: int, value: bytes) -> None:
        await producer.send_and_wait(topic, value, key=b"k", partition=partition, headers=list(HEADERS))
        await asyncio.sleep(0.02)  # the broker's clock has milliseconds

    async def remove(topic: str, partition: int, before: int) -> None:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})

    async def commit(group: str, topic: str, partition: int, offset: int) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition)])
        await consumer.commit({TopicPartition(topic, partition): offset})
        await consumer.stop()

    async def groups() -> set[str]:
        return {name for name, *_ in await admin.list_consumer_groups()}

    return Cluster(log, topics, append, remove, commit, groups)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if request.param == "memory":
        yield in_memory()
        return
    kafka: KafkaCluster = request.getfixturevalue("kafka_cluster")
    async with AsyncExitStack() as stack:
        yield await on_kafka(kafka.bootstrap_servers, stack)


async def read(cluster: Cluster, topics: tuple[str, ...] | None = None, **when: datetime) -> list[Message]:
    ranges = await cluster.log.ranges(cluster.topics if topics is None else topics, **when)
    return [message async for message in cluster.log.messages(ranges)]


async def filled(cluster: Cluster) -> list[bytes]:
    """Nine messages, over all partitions but one."""
    a, b = cluster.topics
    values = []
    for number, (topic, partition) in enumerate([(a, 0), (b, 0), (a, 1)] * 3):
        values.append(f"m{number}".encode())
        await cluster.append(topic, partition, values[-1])
    return values


async def test_messages_come_as_they_are_in_the_order_in_which_they_were_appended(cluster: Cluster) -> None:
    values = await filled(cluster)
    found = await read(cluster)
    assert [message.value for message in found] == values
    assert {(message.key, message.headers) for message in found} == {(b"k", HEADERS)}
    assert [message.place.offset for message in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [m.value for m in await read(cluster, (cluster.topics[1],))] == values[1::3]
    assert await read(cluster, ()) == []


async def test_what_is_appended_after_the_ranges_were_taken_is_in_none_of_them(cluster: Cluster) -> None:
    values = await filled(cluster)
    ranges = await cluster.log.ranges(cluster.topics)
    await cluster.append(cluster.topics[0], 0, b"later")
    assert [m.value async for m in cluster.log.messages(ranges)] == values
    assert sum(r.end - r.begin for r in ranges) == 9


async def test_a_range_of_time_takes_what_was_appended_in_it(cluster: Cluster) -> None:
    values = await filled(cluster)
    times = [message.time for message in await read(cluster)]
    assert [m.value for m in await read(cluster, since=times[4])] == values[4:]
    assert [m.value for m in await read(cluster, until=times[4])] == values[:4]
    assert [m.value for m in await read(cluster, since=times[2], until=times[6])] == values[2:6]
    assert await read(cluster, since=times[-1] + timedelta(seconds=60)) == []


async def test_what_retention_removed_is_in_no_range_and_a_range_that_lost_something_is_refused(
    cluster: Cluster,
) -> None:
    values = await filled(cluster)
    before = await cluster.log.ranges(cluster.topics)
    await cluster.remove(cluster.topics[0], 0, 2)
    assert [m.value for m in await read(cluster)] == [v for v in values if v not in (b"m0", b"m3")]
    with pytest.raises(Refused, match="retention has removed a part"):
        _ = [message async for message in cluster.log.messages(before)]


async def test_the_offsets_of_a_group_are_told_and_reading_makes_no_group(cluster: Cluster) -> None:
    await filled(cluster)
    a, _ = cluster.topics
    group = f"group-of-{a}"
    await cluster.commit(group, a, 1, 2)
    before = await cluster.groups()
    await read(cluster)
    assert await cluster.log.committed(group) == {(a, 1): 2}
    assert await cluster.groups() == before


async def test_a_topic_that_is_not_there_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="no topic log-nowhere"):
        await cluster.log.ranges(["log-nowhere"])
