"""What the embedded bus and object store must do for the rest to be true on them."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from botocore.exceptions import ClientError

from deploy.local.embedded import REGION, Credentials, EmbeddedBus, create_bucket, start_bus
from deploy.local.object_store import OneAtATime

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

BOUND_SECONDS = 30


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBus]:
    home = tmp_path_factory.mktemp("bus")
    bus = start_bus(home / "data", home / "bus.log", dict(os.environ), tie_to_parent=True)
    yield bus
    bus.process.stop()


async def test_two_members_of_a_group_share_a_topic_and_a_restart_goes_on_where_they_committed(
    bus: EmbeddedBus,
) -> None:
    topic = f"t.{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bus.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            topic,
            bootstrap_servers=bus.bootstrap_servers,
            group_id="g",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )

    async def take(consumer: AIOKafkaConsumer, count: int) -> list[bytes]:
        got: list[bytes] = []
        while len(got) < count:
            records = await consumer.getmany(timeout_ms=200)
            got += [record.value for batch in records.values() for record in batch]
        await consumer.commit()
        return got

    async with asyncio.timeout(BOUND_SECONDS):
        first, second = member(), member()
        await asyncio.gather(first.start(), second.start())
        while {len(first.assignment()), len(second.assignment())} != {1}:
            await asyncio.gather(first.getmany(timeout_ms=100), second.getmany(timeout_ms=100))
        async with AIOKafkaProducer(
            bootstrap_servers=bus.bootstrap_servers, acks="all", enable_idempotence=True
        ) as producer:
            for partition in (0, 1):
                await producer.send_and_wait(topic, f"early-{partition}".encode(), partition=partition)
            shares = await asyncio.gather(take(first, 1), take(second, 1))
            assert sorted(value for share in shares for value in share) == [b"early-0", b"early-1"]
            await asyncio.gather(first.stop(), second.stop())
            await producer.send_and_wait(topic, b"late", partition=0)
        again = member()
        await again.start()
        assert await take(again, 1) == [b"late"]
        await again.stop()


@pytest.fixture(scope="module")
def bucket(object_store_endpoint: str, object_store_credentials: Credentials) -> str:
    made = f"b{uuid4().hex}"
    create_bucket(object_store_endpoint, made, object_store_credentials)
    return made


@pytest.fixture
def s3(object_store_endpoint: str, object_store_credentials: Credentials) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=object_store_endpoint,
        region_name=REGION,
        aws_access_key_id=object_store_credentials.access_key_id,
        aws_secret_access_key=object_store_credentials.secret_access_key,
    )


def refused_with(error: ClientError) -> object:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def test_a_conditional_put_is_refused_when_its_condition_fails(s3: S3Client, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as exists:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert refused_with(exists.value) == 412
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError) as stale:
        s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag)
    assert refused_with(stale.value) == 412
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_every_version_is_kept_until_it_is_deleted_by_its_id(s3: S3Client, bucket: str) -> None:
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="versions/k", Body=body)
    s3.delete_object(Bucket=bucket, Key="versions/k")
    listed = s3.list_object_versions(Bucket=bucket, Prefix="versions/")
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (2, 1)
    for version in [*listed["Versions"], *listed["DeleteMarkers"]]:
        s3.delete_object(Bucket=bucket, Key="versions/k", VersionId=version["VersionId"])
    listed = s3.list_object_versions(Bucket=bucket, Prefix="versions/")
    assert "Versions" not in listed and "DeleteMarkers" not in listed


def test_of_eight_creators_of_one_key_exactly_one_wins(s3: S3Client, bucket: str) -> None:
    for attempt in range(20):
        key, together = f"race/{attempt}", threading.Barrier(8)
        wins: list[int] = []

        def create(writer: int, key: str = key, wins: list[int] = wins, together: threading.Barrier = together) -> None:
            together.wait()
            with suppress(ClientError):
                s3.put_object(Bucket=bucket, Key=key, Body=str(writer).encode(), IfNoneMatch="*")
                wins.append(writer)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(8)))
        assert len(wins) == 1
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == str(wins[0]).encode()


def test_no_two_requests_are_inside_the_store_at_once() -> None:
    """What makes the race above impossible and not only rare: moto checks and writes in threads without a lock."""
    inside, most = 0, 0

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)  # long enough for another thread to come in, if it can
        inside -= 1
        return [bytes(environ["wsgi.input"].read())]

    store = OneAtATime(app)

    def call(number: int) -> bytes:
        body = str(number).encode()
        return b"".join(store({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}, None))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(16))) == [str(number).encode() for number in range(16)]
    assert most == 1


def test_bodies_of_every_transfer_encoding_come_back_as_sent(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    (tmp_path / "f").write_bytes(content)
    s3.upload_file(str(tmp_path / "f"), bucket, "multipart")
    with (tmp_path / "f").open("rb") as stream:
        s3.put_object(Bucket=bucket, Key="streamed", Body=stream, ChecksumAlgorithm="CRC32")
    for key in ("multipart", "streamed"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content
