"""Publishers: the recording fake and the real one on Apache Kafka give a consumer the same messages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from deploy.local.kafka import KafkaCluster
from schemas.bus.envelope import decode, encode
from schemas.bus.events import CURATION
from schemas.bus.topics import MESSAGE_BYTES
from tenancy.bus import Publisher, RawMessage, RecordingPublisher
from tenancy.errors import BusUnavailable, MessageTooLarge
from tenancy.evidence.event_signatures import EventVerifier
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.tracing import continued
from tests.fixtures.event_keys import EventKeys
from tests.unit.event_strategies import approved

LETTERS = f"{CURATION}.dlq"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True)
class Bus:
    """A publisher, and what a consumer of a topic gets: the next ``count`` messages."""

    publisher: Publisher
    received: Callable[[str, int], Awaitable[list[RawMessage]]]
    verifier: EventVerifier | None = None


def recorded(publisher: RecordingPublisher) -> Bus:
    async def received(topic: str, count: int) -> list[RawMessage]:
        encoded = [encode(event) for event in publisher.events]
        messages = [RawMessage(m.topic, m.key, m.value, m.headers) for m in encoded] + publisher.raw
        return [message for message in messages if message.topic == topic][:count]

    return Bus(publisher, received)


@pytest.fixture(params=["recording", pytest.param("kafka", marks=pytest.mark.kafka)])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "recording":
        yield recorded(RecordingPublisher())
        return
    cluster: KafkaCluster = request.getfixturevalue("kafka_cluster")
    async with AsyncExitStack() as stack:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
        await admin.start()
        stack.push_async_callback(admin.close)
        topics = [CURATION, LETTERS]
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1) for name in topics])
        stack.push_async_callback(admin.delete_topics, topics)
        keys, client = EventKeys(), {"bootstrap_servers": cluster.bootstrap_servers}
        publisher = await stack.enter_async_context(KafkaPublisher(client, keys.signer("import")))

        async def received(topic: str, count: int) -> list[RawMessage]:
            consumer = AIOKafkaConsumer(
                topic, bootstrap_servers=cluster.bootstrap_servers, auto_offset_reset="earliest"
            )
            await consumer.start()
            try:
                records = [await consumer.getone() for _ in range(count)]
            finally:
                await consumer.stop()
            return [RawMessage(r.topic, r.key, r.value, r.headers) for r in records]

        yield Bus(publisher, received, EventVerifier(keys.trust()))


async def test_an_event_arrives_on_its_topic_with_key_and_headers(bus: Bus) -> None:
    events = [approved("t1", version=1), approved("t1", version=2), approved("t2", version=1)]
    for event in events:
        await bus.publisher.publish(event.traced(TRACEPARENT))
    messages = await bus.received(CURATION, 3)
    arrived = [decode(m.key, m.value, m.headers) for m in messages]
    if bus.verifier is not None:
        for event, m in zip(arrived, messages, strict=True):
            assert bus.verifier.publisher(event, m.value, m.headers, appended_at=None), "it is signed"
    assert arrived == events
    assert {event.traceparent for event in arrived} == {TRACEPARENT}
    assert [message.key for message in messages] == [b"t1", b"t1", b"t2"]


async def test_an_event_is_in_the_trace_of_what_published_it_and_one_without_begins_a_trace(bus: Bus) -> None:
    with continued(TRACEPARENT):
        await bus.publisher.publish(approved("t1", version=1))
    for version in (2, 3):
        await bus.publisher.publish(approved("t1", version=version))
    messages = await bus.received(CURATION, 3)
    first, *others = [decode(m.key, m.value, m.headers).traceparent for m in messages]
    assert first == TRACEPARENT
    assert len({str(other).split("-")[1] for other in others}) == 2
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", str(other)) for other in others), "sampled"


async def test_a_raw_message_arrives_byte_for_byte(bus: Bus) -> None:
    """Dead letters: what nobody could read must be kept as it was."""
    letter = RawMessage(LETTERS, b"\xff", b"\x00\xfe", [("a", b"\xff"), ("a", b"again"), ("dlq_reason", b"no-data")])
    tombstone = RawMessage(LETTERS, b"t1", None, [("dlq_reason", b"no-data")])
    await bus.publisher.publish_raw(letter)
    await bus.publisher.publish_raw(tombstone)
    first, second = await bus.received(LETTERS, 2)
    assert (first.key, first.value, list(first.headers)) == (letter.key, letter.value, letter.headers)
    assert (second.key, second.value, list(second.headers)) == (b"t1", None, tombstone.headers)


async def test_a_message_with_neither_key_nor_value_is_not_lost(bus: Bus) -> None:
    nothing = RawMessage(LETTERS, None, None, [("dlq_reason", b"no-specversion")])
    await bus.publisher.publish_raw(nothing)
    (arrived,) = await bus.received(LETTERS, 1)
    assert (arrived.key, arrived.value or b"", list(arrived.headers)) == (None, b"", nothing.headers)


async def test_a_message_that_the_bus_will_never_take_is_refused_and_what_comes_after_it_arrives(bus: Bus) -> None:
    for size in (MESSAGE_BYTES, 3 * MESSAGE_BYTES):
        with pytest.raises(MessageTooLarge) as refused:
            await bus.publisher.publish_raw(RawMessage(LETTERS, b"k", bytes(size), [("a", b"b")]))
        assert refused.value.code == "bus-refused"
    await bus.publisher.publish_raw(RawMessage(LETTERS, b"k", b"small", []))
    assert [message.value for message in await bus.received(LETTERS, 1)] == [b"small"]


# --- what only a network can do


@pytest.mark.kafka
async def test_a_header_without_a_value_is_kept(kafka_cluster: KafkaCluster) -> None:
    """A null header is why some messages are dead letters at all."""
    async with KafkaPublisher({"bootstrap_servers": kafka_cluster.bootstrap_servers}) as publisher:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_cluster.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic("null-headers", num_partitions=1, replication_factor=1)])
        await publisher.publish_raw(RawMessage("null-headers", b"k", b"v", [("empty", None), ("full", b"x")]))
        consumer = AIOKafkaConsumer(
            "null-headers", bootstrap_servers=kafka_cluster.bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        record = await consumer.getone()
        await consumer.stop()
        await admin.delete_topics(["null-headers"])
        await admin.close()
    assert list(record.headers) == [("empty", None), ("full", b"x")]


@pytest.mark.kafka
async def test_after_a_refusal_of_the_bus_what_it_takes_arrives(kafka_cluster: KafkaCluster) -> None:
    """A smaller limit and missing rights are refused by the broker, when the producer has counted the message."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_cluster.bootstrap_servers)
    await admin.start()
    small = NewTopic("refusing", num_partitions=1, replication_factor=1, topic_configs={"max.message.bytes": "1000"})
    await admin.create_topics([small])
    try:
        async with KafkaPublisher({"bootstrap_servers": kafka_cluster.bootstrap_servers}) as publisher:
            for _ in range(2):
                await publisher.publish_raw(RawMessage("refusing", b"k", b"v", []))
                with pytest.raises(MessageTooLarge):
                    await publisher.publish_raw(RawMessage("refusing", b"k", bytes(2000), []))
            await publisher.publish_raw(RawMessage("refusing", b"k", b"v", []))
            assert await publisher.answers()
    finally:
        await admin.delete_topics(["refusing"])
        await admin.close()


async def test_a_bus_that_is_out_of_reach_is_for_later() -> None:
    with pytest.raises(BusUnavailable, match="out of reach"):
        async with KafkaPublisher({"bootstrap_servers": "127.0.0.1:1"}):
            raise AssertionError("it cannot start")


async def test_a_publisher_that_was_not_started_says_so() -> None:
    with pytest.raises(BusUnavailable, match="not started"):
        await KafkaPublisher({"bootstrap_servers": "127.0.0.1:1"}).publish(approved())


@pytest.mark.kafka
async def test_the_current_trace_goes_along(kafka_cluster: KafkaCluster) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_cluster.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(CURATION, num_partitions=1, replication_factor=1)])
    span = TracerProvider().get_tracer("test").start_span("caller")
    async with KafkaPublisher({"bootstrap_servers": kafka_cluster.bootstrap_servers}) as publisher:
        with trace.use_span(span):
            await publisher.publish(approved().traced(TRACEPARENT))
    consumer = AIOKafkaConsumer(
        CURATION, bootstrap_servers=kafka_cluster.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    await admin.delete_topics([CURATION])
    await admin.close()
    traceparent = decode(record.key, record.value, record.headers).traceparent
    assert traceparent is not None
    assert f"{span.get_span_context().trace_id:032x}" in traceparent
