"""Asking store and bus whether they answer: the real ones say so, and asking leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumers.runtime.redeliveries import store_keys_and_bus_answer
from deploy.local.kafka import KafkaCluster
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.objects import ObjectStore
from tenancy.storage.s3 import S3ObjectStore
from tests.fixtures.seaweedfs import SeaweedFS, accepts_writes


async def test_a_store_that_answers_says_so_and_nothing_is_written(tenancy: Tenancy, objects: ObjectStore) -> None:
    assert await store_keys_and_bus_answer(tenancy)
    assert [version async for version in objects.versions("")] == []


async def test_a_bucket_that_is_not_there_does_not_answer(s3_store: S3ObjectStore) -> None:
    nowhere = S3ObjectStore(s3_store.client, "no-such-bucket")
    tenancy = assemble(nowhere, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/test")
    assert not await store_keys_and_bus_answer(tenancy)


def test_a_server_that_is_asked_again_whether_it_takes_objects_says_so_again(seaweedfs: SeaweedFS) -> None:
    """Its first probe made a bucket: a later one, for what had no place then, must get past that."""
    assert accepts_writes(seaweedfs.endpoint_url, seaweedfs.credentials)


@pytest.mark.kafka
async def test_a_bus_answers_while_its_latest_publication_was_acknowledged(kafka_cluster: KafkaCluster) -> None:
    publisher = KafkaPublisher({"bootstrap_servers": kafka_cluster.bootstrap_servers})
    assert not await publisher.answers(), "it is not started"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_cluster.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("answers", num_partitions=1, replication_factor=1)])
        async with publisher:
            assert await publisher.answers()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):  # no such topic: it waits for one
                    await publisher.publish_raw(RawMessage("answers-nowhere", b"k", b"v", []))
            assert not await publisher.answers(), "nobody knows whether that was taken"
            await publisher.publish_raw(RawMessage("answers", b"k", b"v", []))
            assert await publisher.answers()
        await admin.delete_topics(["answers"])
    finally:
        await admin.close()
