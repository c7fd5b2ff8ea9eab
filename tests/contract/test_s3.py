"""What only a network can do to an object store: conflicts, throttling, lost answers, uploads aborted by another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tenancy.errors import DeletionRefused, PreconditionFailed, Refused, StoreUnavailable, Transient
from tenancy.storage import s3
from tenancy.storage.objects import ObjectVersion, Upload
from tenancy.storage.s3 import S3ObjectStore
from tests.contract.conftest import begin_s3_upload

PART = 8 * 1024 * 1024
CANARY = "patient-canary-8841"


def answered(status: int, code: str) -> ClientError:
    error: Any = {"Error": {"Code": code, "Message": CANARY}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(error, "PutObject")


@dataclass
class Failing:
    """A real client whose next calls of one operation fail."""

    client: Any
    operation: str
    errors: list[Exception]
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if name != self.operation:
            return real

        def call(**arguments: Any) -> Any:
            self.calls.append(arguments)
            if self.errors:
                raise self.errors.pop(0)
            return real(**arguments)

        return call


Failure = Callable[..., tuple[S3ObjectStore, Failing]]


@pytest.fixture
def failing(moto_store: S3ObjectStore) -> Failure:
    def make(operation: str, *errors: Exception) -> tuple[S3ObjectStore, Failing]:
        client = Failing(moto_store.client, operation, list(errors))
        return S3ObjectStore(client, moto_store.bucket), client  # type: ignore[arg-type]

    return make


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


CONFLICT = answered(409, "ConditionalRequestConflict")


async def test_a_conflict_is_tried_again_with_growing_pauses(failing: Failure, pauses: list[float]) -> None:
    store, client = failing("put_object", CONFLICT, answered(409, "OperationAborted"), CONFLICT)
    await store.put("a/x", b"one", if_absent=True)
    assert (await store.get("a/x")).body == b"one"
    assert len(client.calls) == 4
    assert all(call["IfNoneMatch"] == "*" for call in client.calls), "the condition must be asked again each time"
    assert len(pauses) == 3
    assert 0.01 <= pauses[0] <= 0.05
    assert 0.04 <= pauses[2] <= 0.2


async def test_a_conflict_that_does_not_end_is_for_later(failing: Failure, pauses: list[float]) -> None:
    store, client = failing("put_object", *[CONFLICT] * 100)
    with pytest.raises(StoreUnavailable, match="kept conflicting"):
        await store.put("a/x", b"one", if_absent=True)
    assert len(client.calls) == s3.CONFLICT_ATTEMPTS
    assert len(pauses) == s3.CONFLICT_ATTEMPTS - 1, "nothing comes after the last attempt that a pause could be for"


async def test_a_conflict_at_completion_leaves_no_open_upload_and_is_for_later(failing: Failure) -> None:
    """S3 asks for the whole upload again, and the source is consumed."""
    store, _ = failing("complete_multipart_upload", CONFLICT)
    with pytest.raises(StoreUnavailable):
        await store.put_chunks("a/x", [bytes(PART), b"end"], if_absent=True)
    assert [upload async for upload in store.uploads("")] == []


@pytest.mark.parametrize(
    ("operation", "use"),
    [
        ("get_object", lambda store: store.get("a/x")),
        ("head_object", lambda store: store.exists("a/x")),
        ("put_object", lambda store: store.put("a/x", b"one")),
        ("delete_object", lambda store: store.delete("a/x")),
        ("delete_objects", lambda store: store.delete_versions([ObjectVersion("a/x", "v", False, True)])),
        ("create_multipart_upload", lambda store: store.put_chunks("a/x", [bytes(PART), b"end"])),
        ("upload_part", lambda store: store.put_chunks("a/x", [bytes(PART), b"end"])),
        ("complete_multipart_upload", lambda store: store.put_chunks("a/x", [bytes(PART), b"end"])),
        ("abort_multipart_upload", lambda store: store.abort_upload(Upload("a/x", "u"))),
    ],
)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(503, "SlowDown"), StoreUnavailable),
        (answered(500, "InternalError"), StoreUnavailable),
        (answered(429, "Throttling"), StoreUnavailable),
        (answered(400, "RequestTimeout"), StoreUnavailable),
        (EndpointConnectionError(endpoint_url="http://s3"), StoreUnavailable),
        (answered(403, "AccessDenied"), Refused),
        (answered(404, "NoSuchBucket"), Refused),
    ],
    ids=lambda value: getattr(value, "response", {}).get("Error", {}).get("Code", type(value).__name__),
)
async def test_every_failure_says_whether_trying_again_may_help_and_never_what_s3_said(
    failing: Failure, operation: str, use: Callable[[S3ObjectStore], Any], error: Exception, kind: type[Exception]
) -> None:
    store, _ = failing(operation, error)
    with pytest.raises(kind) as raised:
        await use(store)
    assert CANARY not in str(raised.value)
    assert raised.value.__suppress_context__, "the log of a traceback would print what S3 said"
    assert [upload async for upload in store.uploads("")] == []


@pytest.mark.parametrize(
    ("operation", "use"),
    [
        ("get_object", lambda store: store.get("a/x")),
        ("delete_object", lambda store: store.delete("a/x")),
        ("create_multipart_upload", lambda store: store.put_chunks("a/x", [bytes(PART), b"end"])),
        ("abort_multipart_upload", lambda store: store.abort_upload(Upload("a/x", "u"))),
    ],
)
async def test_a_conflict_outside_a_conditional_write_is_for_later_too(
    failing: Failure, operation: str, use: Callable[[S3ObjectStore], Any]
) -> None:
    """Whatever leaves the store must be of a kind that handlers know how to treat."""
    store, _ = failing(operation, CONFLICT)
    with pytest.raises(Transient):
        await use(store)


@pytest.mark.parametrize("operation", ["upload_part", "complete_multipart_upload"])
async def test_an_upload_that_a_purge_aborted_is_a_failed_write(failing: Failure, operation: str) -> None:
    """The purge aborts the uploads that it finds open; their writer must not take that for a read of nothing.

    S3's answer is played here: moto 5.2.5 answers 500 to a part of an upload that is gone.
    """
    store, _ = failing(operation, answered(404, "NoSuchUpload"))
    with pytest.raises(StoreUnavailable, match="aborted by another"):
        await store.put_chunks("a/x", [bytes(2 * PART)])
    assert not await store.exists("a/x")
    assert [upload async for upload in store.uploads("")] == []


async def test_a_cancelled_upload_begins_no_further_request(s3_store: S3ObjectStore) -> None:
    """Its thread goes on, and a purge waits for one request of a writer that is over."""
    is_asked, may_go_on = threading.Event(), threading.Event()

    def source() -> Iterator[bytes]:
        yield bytes(PART)
        is_asked.set()
        may_go_on.wait(10)
        yield bytes(PART)

    upload = asyncio.create_task(s3_store.put_chunks("a/x", source()))
    while not is_asked.is_set():
        await asyncio.sleep(0.01)
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    may_go_on.set()
    for _ in range(200):
        if not [one async for one in s3_store.uploads("")]:
            break
        await asyncio.sleep(0.02)
    assert [one async for one in s3_store.uploads("")] == []
    assert not await s3_store.exists("a/x")


async def test_a_failing_clean_up_does_not_hide_why_the_upload_failed(failing: Failure) -> None:
    store, _ = failing("abort_multipart_upload", answered(503, "SlowDown"))

    def source() -> Iterator[bytes]:
        yield bytes(2 * PART)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await store.put_chunks("a/x", source())


async def test_versions_are_deleted_by_the_thousand() -> None:
    sizes: list[int] = []

    class Counting:
        def delete_objects(self, *, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
            sizes.append(len(Delete["Objects"]))
            return {}

    store = S3ObjectStore(Counting(), "b")  # type: ignore[arg-type]
    await store.delete_versions([ObjectVersion("a/x", str(number), False, False) for number in range(2001)])
    assert sizes == [1000, 1000, 1]


async def test_versions_that_s3_keeps_are_named_with_a_reason_after_all_others_are_gone() -> None:
    batches: list[list[str]] = []

    class Locked:
        def delete_objects(self, *, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:
            keys = [entry["Key"] for entry in Delete["Objects"]]
            batches.append(keys)
            locked = [key for key in keys if key.endswith("7")]
            return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": CANARY} for key in locked[:1]]}

    store = S3ObjectStore(Locked(), "b")  # type: ignore[arg-type]
    versions = [ObjectVersion(f"a/{number}", "1", False, True) for number in range(2500)]
    with pytest.raises(DeletionRefused) as raised:
        await store.delete_versions(versions)
    assert raised.value.kept == tuple((f"a/{number}", "access-denied") for number in (7, 1007, 2007))
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert CANARY not in str(raised.value)


async def test_a_version_under_object_lock_is_kept_and_named_and_goes_once_it_is_let_go(
    s3_store: S3ObjectStore,
) -> None:
    client, bucket = s3_store.client, f"{s3_store.bucket}-locked"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    store = S3ObjectStore(client, bucket)
    for number in range(3):
        await store.put(f"a/{number}", b"x")
    client.put_object_legal_hold(Bucket=bucket, Key="a/1", LegalHold={"Status": "ON"})
    with pytest.raises(DeletionRefused) as raised:
        await store.delete_versions([version async for version in store.versions("a/")])
    assert raised.value.kept == (("a/1", "access-denied"),)
    assert [version.key async for version in store.versions("a/")] == ["a/1"]
    client.put_object_legal_hold(Bucket=bucket, Key="a/1", LegalHold={"Status": "OFF"})
    await store.delete_versions([version async for version in store.versions("a/")])
    assert [version.key async for version in store.versions("a/")] == []


async def test_versions_that_s3_could_not_delete_are_counted_and_not_named() -> None:
    class Partial:
        def delete_objects(self, **_: Any) -> dict[str, Any]:
            return {"Errors": [{"Key": CANARY, "Code": "InternalError", "Message": CANARY}]}

    store = S3ObjectStore(Partial(), "b")  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="1 of 2 versions were not deleted") as raised:
        await store.delete_versions([ObjectVersion("a/x", "1", False, True), ObjectVersion("a/x", "2", False, True)])
    assert CANARY not in str(raised.value)


async def test_an_answer_lost_on_the_way_makes_a_create_look_lost(s3_store: S3ObjectStore) -> None:
    """Why the caller of a conditional write must read back: botocore tries again by itself, and meets its own write."""

    class AnswerLost:
        def put_object(self, **arguments: Any) -> Any:
            s3_store.client.put_object(**arguments)
            return s3_store.client.put_object(**arguments)

    store = S3ObjectStore(AnswerLost(), s3_store.bucket)  # type: ignore[arg-type]
    with pytest.raises(PreconditionFailed):
        await store.put("a/x", b"mine", if_absent=True)
    assert (await s3_store.get("a/x")).body == b"mine"


async def test_an_upload_begun_by_hand_is_what_a_listing_shows(s3_store: S3ObjectStore) -> None:
    upload = begin_s3_upload(s3_store, "a/x")
    assert [found async for found in s3_store.uploads("a/")] == [upload]


def test_the_client_waits_a_bounded_time_and_tries_a_bounded_number_of_times() -> None:
    config = s3.connect("http://127.0.0.1:1", timeout_seconds=7.0, access_key_id="a", secret_access_key="b").meta.config
    settings: Any = config
    assert (settings.connect_timeout, settings.read_timeout) == (7.0, 7.0)
    assert settings.retries["total_max_attempts"] == 3
