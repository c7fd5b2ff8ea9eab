"""The object store's threads: enough on every machine, never behind a queue for a lease, and closed with the store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tenancy import bootstrap, kafka_publisher
from tenancy.bootstrap import open_tenancy
from tenancy.errors import StoreUnavailable
from tenancy.platform.concurrency import AT_ONCE
from tenancy.platform.settings import PlatformSettings
from tenancy.platform.threads import CONNECTIONS, REQUESTS, RESERVED, ahead_of_others
from tenancy.storage.keys import KeyRing
from tenancy.storage.master_keys import KeyFileMasterKey, KmsMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.s3 import S3ObjectStore, connect
from tenancy.tenant_id import TenantId

BOUND_SECONDS = 30
TENANT = TenantId("t1")


class Client:
    """Every read waits until it may go on; what was asked is noted."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.asked: list[str] = []

    def head_object(self, *, Key: str, **_: Any) -> None:
        self.asked.append(Key)
        assert self.may_go_on.wait(BOUND_SECONDS)

    def delete_object(self, *, Key: str, **_: Any) -> None:
        self.asked.append(Key)

    def put_object(self, *, Key: str, **_: Any) -> dict[str, str]:
        self.asked.append(Key)
        return {"ETag": "e"}


@asynccontextmanager
async def all_busy(client: Client, store: S3ObjectStore) -> AsyncIterator[None]:
    """Every thread but the reserved ones is in a read that hangs; behind them as many others wait."""
    reads = [asyncio.create_task(store.exists(f"a/{number}")) for number in range(2 * REQUESTS)]
    while len(client.asked) < REQUESTS:
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        client.may_go_on.set()
        await asyncio.gather(*reads, return_exceptions=True)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def store(client: Client) -> S3ObjectStore:
    return S3ObjectStore(client, "b")  # type: ignore[arg-type]


async def test_as_many_requests_are_under_way_as_are_said_on_any_machine(client: Client, store: S3ObjectStore) -> None:
    async with asyncio.timeout(BOUND_SECONDS), all_busy(client, store):
        assert len(client.asked) == REQUESTS
    assert len(client.asked) == 2 * REQUESTS


async def test_a_write_that_is_cancelled_while_it_waits_for_a_thread_is_never_begun(
    client: Client, store: S3ObjectStore
) -> None:
    """How long a purge waits for late writers counts from the cancellation: no queue may come on top."""
    async with asyncio.timeout(BOUND_SECONDS), all_busy(client, store):
        late = [
            asyncio.create_task(store.put("late", b"x")),
            asyncio.create_task(store.put_chunks("late", [b"x"])),
            asyncio.create_task(store.delete("late")),
        ]
        await asyncio.sleep(0)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    assert await store.put("later", b"x") == "e"  # its thread is one that all of them waited for
    assert "late" not in client.asked


async def test_what_is_ahead_of_others_waits_for_none_of_them(client: Client, store: S3ObjectStore) -> None:
    async with asyncio.timeout(BOUND_SECONDS), all_busy(client, store):
        with ahead_of_others():
            assert await store.put("lease", b"x") == "e"
        behind = asyncio.create_task(store.put("behind", b"x"))
        await asyncio.sleep(0.01)
        assert not behind.done()
    await behind


async def test_a_closed_store_begins_nothing_and_its_threads_end(client: Client, store: S3ObjectStore) -> None:
    async with asyncio.timeout(BOUND_SECONDS), all_busy(client, store):
        threads = [thread for thread in threading.enumerate() if thread in store.threads._all._threads]
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.put("late", b"x")
    assert len(client.asked) == REQUESTS == len(threads), "what waited is not begun"
    for thread in threads:
        await asyncio.to_thread(thread.join, BOUND_SECONDS)
    assert not any(thread.is_alive() for thread in threads)


async def test_who_waits_for_a_thread_when_they_are_closed_is_told_and_not_cancelled(
    client: Client, store: S3ObjectStore
) -> None:
    async with asyncio.timeout(BOUND_SECONDS), all_busy(client, store):
        behind, cancelled = (asyncio.create_task(store.put(name, b"x")) for name in ("behind", "cancelled"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await behind
        with pytest.raises(asyncio.CancelledError):
            await cancelled


class BlockingMasterKey(KeyFileMasterKey):
    """Every key waits until it may be opened."""

    may_go_on = threading.Event()

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        assert self.may_go_on.wait(BOUND_SECONDS)
        return super().unwrap(tenant, wrapped)


async def test_a_master_key_that_does_not_answer_takes_no_thread_of_the_event_loop() -> None:
    loops = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(loops)
    master = BlockingMasterKey(bytes(range(32)))
    master.may_go_on.set()
    ring = KeyRing(MemoryObjectStore(), master)
    made = await ring.create(TENANT)
    master.may_go_on.clear()
    opening = [asyncio.create_task(ring.open(TENANT)) for _ in range(8)]
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            await asyncio.sleep(0)
            assert await asyncio.to_thread(lambda: "free") == "free"
        assert not any(task.done() for task in opening)
    finally:
        master.may_go_on.set()
    assert [keys.data_key for keys in await asyncio.gather(*opening)] == [made.data_key] * 8
    ring.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await ring.open(TENANT)


def test_each_thread_has_a_connection_to_kms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    config: Any = KmsMasterKey.connect("key", 1.0).client.meta.config
    assert config.max_pool_connections == CONNECTIONS


async def test_the_store_is_closed_with_the_tenancy(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    @asynccontextmanager
    async def publisher(*_: Any) -> AsyncIterator[None]:
        yield None

    store = S3ObjectStore(client, "b")  # type: ignore[arg-type]
    monkeypatch.setattr(kafka_publisher, "KafkaPublisher", publisher)
    monkeypatch.setattr(bootstrap, "object_store", lambda _: store)
    monkeypatch.setattr(bootstrap, "master_key", lambda _: None)
    settings = PlatformSettings(kafka_bootstrap_servers="k:1", s3_bucket="b")
    async with open_tenancy(settings, "test") as tenancy:
        await tenancy.objects.put("a/x", b"x")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.put("a/x", b"x")
    with pytest.raises(StoreUnavailable, match="closed"):
        await tenancy.keys.threads.run(lambda: None)


def test_the_numbers_of_requests_threads_and_connections_follow_from_one_another() -> None:
    client = connect("http://127.0.0.1:1", timeout_seconds=1.0, access_key_id="a", secret_access_key="b")
    config: Any = client.meta.config
    assert config.max_pool_connections == CONNECTIONS == REQUESTS + RESERVED
    assert AT_ONCE * 2 == REQUESTS
