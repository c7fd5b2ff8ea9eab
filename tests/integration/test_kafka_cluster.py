"""The local Apache Kafka that every other test on a real broker stands on."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from deploy.local.kafka import KafkaCluster

pytestmark = pytest.mark.kafka
BOUND_SECONDS = 60


async def create_topic(servers: str, partitions: int = 1, replicas: int = 1) -> str:
    """A new topic, once every partition has a leader."""
    name = f"test.{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, replicas)])
        async with asyncio.timeout(BOUND_SECONDS):
            while True:
                [topic] = await admin.describe_topics([name])
                if topic["partitions"] and all(p["leader"] >= 0 for p in topic["partitions"]):
                    return name
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            for value in values:
                await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read_all(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(BOUND_SECONDS):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_message_sent_is_read_by_a_group(kafka_cluster: KafkaCluster) -> None:
    topic = await create_topic(kafka_cluster.bootstrap_servers)
    await produce(kafka_cluster.bootstrap_servers, topic, [b"one", b"two"])
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_cluster.bootstrap_servers, group_id=topic, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            assert [(await consumer.getone()).value for _ in range(2)] == [b"one", b"two"]
        await consumer.commit()
        assert await consumer.committed(TopicPartition(topic, 0)) == 2
    finally:
        await consumer.stop()


async def test_a_topic_is_not_created_by_writing_to_it(kafka_cluster: KafkaCluster) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_cluster.bootstrap_servers, request_timeout_ms=2_000)
    await producer.start()
    try:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.partitions_for(f"never-made.{uuid4().hex}")
    finally:
        await producer.stop()


async def test_what_a_topic_holds_is_in_the_segment_files_below_log_dirs(kafka_cluster: KafkaCluster) -> None:
    topic = await create_topic(kafka_cluster.bootstrap_servers)
    await produce(kafka_cluster.bootstrap_servers, topic, [b"a-needle-in-a-segment"])
    segments = list((kafka_cluster.log_dirs[0] / f"{topic}-0").glob("*.log"))
    assert any(b"a-needle-in-a-segment" in segment.read_bytes() for segment in segments)
