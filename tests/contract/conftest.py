"""Every port's real adapter and its fake, under one name, so that one suite runs on both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from deploy.local.embedded import REGION, Credentials, create_bucket
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.direct_s3 import DirectRequests
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectStore, Upload
from tenancy.storage.s3 import S3ObjectStore, connect
from tenancy.tenant_id import TenantId
from tests.fixtures.seaweedfs import SeaweedFS
from tests.world.effects import ObservedObjectStore

TENANT = TenantId("t1")
START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Backend:
    """An object store, and a way to leave a multipart upload open in it."""

    store: ObjectStore
    begin_upload: Callable[[str], Upload]


@dataclass
class SteppedClock:
    """A clock that moves only when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Notes:
    """An observer that writes effects down."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def before(self, effect: str) -> None:
        self.seen.append(("before", effect))

    def after(self, effect: str) -> None:
        self.seen.append(("after", effect))


_bucket_numbers = itertools.count(1)


def bucket_on(endpoint_url: str, credentials: Credentials) -> S3ObjectStore:
    """A new versioned bucket."""
    bucket = f"contract-{next(_bucket_numbers)}"
    create_bucket(endpoint_url, bucket, credentials)
    client = connect(
        endpoint_url,
        timeout_seconds=10.0,
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key,
    )
    return S3ObjectStore(client, bucket, DirectRequests.to(client, bucket, by_path=True))


def bucket_of(server: str, request: pytest.FixtureRequest) -> S3ObjectStore:
    if server == "seaweedfs":
        started: SeaweedFS = request.getfixturevalue("seaweedfs")
        return bucket_on(started.endpoint_url, started.credentials)
    endpoint: str = request.getfixturevalue("object_store_endpoint")
    return bucket_on(endpoint, request.getfixturevalue("object_store_credentials"))


@pytest.fixture
def moto_store(request: pytest.FixtureRequest) -> S3ObjectStore:
    """A bucket of its own on the local stack's server, for what a client is made to see: any server does for that."""
    return bucket_of("moto", request)


@pytest.fixture(params=["moto", "seaweedfs"])
def s3_store(request: pytest.FixtureRequest) -> S3ObjectStore:
    """A bucket of its own on each S3 server."""
    return bucket_of(request.param, request)


def begin_s3_upload(store: S3ObjectStore, key: str) -> Upload:
    answer = store.client.create_multipart_upload(Bucket=store.bucket, Key=key)
    return Upload(key, answer["UploadId"])


@pytest.fixture(params=["memory", "observed", "moto", "seaweedfs"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param in ("moto", "seaweedfs"):
        store = bucket_of(request.param, request)
        return Backend(store, lambda key: begin_s3_upload(store, key))
    memory = MemoryObjectStore()

    def begin(key: str) -> Upload:
        upload = Upload(key, f"upload-{len(memory.open_uploads)}")
        memory.open_uploads.append(upload)
        return upload

    return Backend(ObservedObjectStore(memory, Notes()) if request.param == "observed" else memory, begin)


@pytest.fixture
def objects(backend: Backend) -> ObjectStore:
    return backend.store


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def tenancy(objects: ObjectStore, publisher: RecordingPublisher, clock: SteppedClock) -> Tenancy:
    return assemble(objects, KeyFileMasterKey(bytes(range(32))), publisher, "/sanolith/test", clock)


@pytest.fixture
def onboarded(tenancy: Tenancy) -> TenantState:
    """``t1``, active and with keys."""

    async def onboard() -> TenantState:
        created = await tenancy.states.create(TenantState(tenant=TENANT, nonce="n0"))
        await tenancy.keys.create(TENANT)
        return created.state

    return asyncio.run(onboard())


@pytest.fixture
def kms_key_client(object_store_endpoint: str, object_store_credentials: Credentials) -> object:
    return boto3.client(
        "kms",
        endpoint_url=object_store_endpoint,
        region_name=REGION,
        aws_access_key_id=object_store_credentials.access_key_id,
        aws_secret_access_key=object_store_credentials.secret_access_key,
    )
