"""Implements the object store on S3. The only module that holds an S3 client."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from schemas.base.identifiers import REASON_CODE_PATTERN
from tenancy.errors import DeletionRefused, ObjectNotFound, PreconditionFailed, Refused, StoreUnavailable
from tenancy.platform.aws import bounded, configured, said
from tenancy.platform.threads import Threads
from tenancy.storage.direct_s3 import DirectRequests, asked_range, told_range
from tenancy.storage.objects import BATCH, ObjectVersion, Range, StoredObject, Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, ListObjectsV2OutputTypeDef

T = TypeVar("T")

PART_BYTES = 8 * 1024 * 1024
DIRECT_BYTES = 2 * 1024 * 1024
"""What is larger is written from a thread: hashing and encrypting it would stop the event loop."""
FIRST_KEYS = 200
"""In the first page of a listing, for whoever waits for its first key. Those behind it have the store's 1,000."""
CONFLICT_ATTEMPTS = 8
_NOT_FOUND = {"NoSuchKey", "404", "NoSuchUpload", "NotFound"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_PASSING = {"InternalError", "ServiceUnavailable", "SlowDown", "OperationAborted"}  # of one version in a batch
_PRECONDITION = {"PreconditionFailed", "412"}


class _Conflict(StoreUnavailable):
    """409: a concurrent conditional request is in flight; S3 asks to try again."""


def connect(
    endpoint_url: str | None,
    *,
    timeout_seconds: float,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> S3Client:
    """A client with bounded waits. Without credentials they come from boto3's own chain.

    Raises :class:`Refused`.
    """
    with configured("S3"):
        return boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=bounded(timeout_seconds).merge(Config(s3={"addressing_style": "path" if endpoint_url else "auto"})),
        )


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn boto's errors into ours. The key is ours and opaque; S3's message is not repeated."""
    try:
        yield
    except ClientError as error:
        code, status = said(error)
        if code in _NOT_FOUND or (status == 404 and code != "NoSuchBucket"):
            raise ObjectNotFound(key) from None
        if code in _PRECONDITION or status == 412:
            raise PreconditionFailed(key) from None
        if code in _CONFLICT or status == 409:
            raise _Conflict("a concurrent conditional request is in flight") from None
        if status >= 500 or status == 429 or code in {"SlowDown", "RequestTimeout", "Throttling"}:
            raise StoreUnavailable(f"the object store answered {status} {code}") from None
        raise Refused("object-store-refused", f"refused: the object store answered {status} {code}") from None
    except BotoCoreError as error:
        raise StoreUnavailable(f"the object store is out of reach: {type(error).__name__}") from None


@dataclass(frozen=True)
class S3ObjectStore:
    """One bucket. boto3 blocks, so each call runs in a thread and the event loop goes on.

    ``direct``: asked first for what every event asks, without a thread; see :mod:`tenancy.storage.direct_s3`.
    """

    client: S3Client
    bucket: str
    direct: DirectRequests | None = None
    threads: Threads = field(default_factory=Threads, repr=False)

    async def get(self, key: str) -> StoredObject:
        if self.direct is not None and (found := await self.direct.get(key)) is not None:
            return found

        def call() -> StoredObject:
            with _translated(key):
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                return StoredObject(answer["Body"].read(), answer["ETag"])

        return await self.threads.run(call)

    async def exists(self, key: str) -> bool:
        def call() -> bool:
            with _translated(key):
                self.client.head_object(Bucket=self.bucket, Key=key)
                return True

        try:
            return await self.threads.run(call)
        except ObjectNotFound:
            return False

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        condition: dict[str, Any] = {}
        headers: dict[str, str] = {}
        if if_absent:
            condition["IfNoneMatch"] = headers["If-None-Match"] = "*"
        if if_match is not None:
            condition["IfMatch"] = headers["If-Match"] = if_match

        if self.direct is not None and len(body) <= DIRECT_BYTES:
            etag = await self.direct.put(key, body, headers)
            if etag is not None:
                return etag

        def call() -> str:
            with _translated(key):
                try:
                    return self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **condition)["ETag"]
                except ClientError as error:
                    # If-Match on a key that does not exist (any more) answers 404: the caller lost the race.
                    if if_match is not None and said(error)[0] in _NOT_FOUND:
                        raise PreconditionFailed(key) from None
                    raise

        return await self._written(lambda stop: _again_on_conflict(call, stop))

    async def put_chunks(self, key: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> str:
        parts = _parts(chunks)
        first = await self.threads.run(lambda: next(parts, b""))
        if len(first) < PART_BYTES:
            return await self.put(key, first, if_absent=if_absent)
        return await self._written(lambda stop: self._multipart(key, first, parts, if_absent, stop))

    def _multipart(self, key: str, first: bytes, rest: Iterator[bytes], if_absent: bool, stop: threading.Event) -> str:
        with _translated(key):
            upload_id = self.client.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        target: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "UploadId": upload_id}
        try:
            done: list[CompletedPartTypeDef] = []
            for number, part in enumerate(_chain(first, rest), start=1):
                _require_caller(stop)
                with _translated(key):
                    answer = self.client.upload_part(**target, PartNumber=number, Body=part)
                done.append({"ETag": answer["ETag"], "PartNumber": number})
            condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
            _require_caller(stop)
            with _translated(key):
                complete = self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": done}, **condition)
            return complete["ETag"]
        except BaseException as error:
            # The parts hold tenant data: they must not outlive the failure. Should S3 be out of reach, a purge finds
            # the open upload; the caller is told of the failure that came first.
            with suppress(ObjectNotFound, StoreUnavailable, Refused), _translated(key):
                self.client.abort_multipart_upload(**target)
            if isinstance(error, ObjectNotFound):
                # A purge aborts the uploads that it finds open. To this writer that is a failed write, not a read of
                # a missing object; trying again finds the tenant fenced.
                raise StoreUnavailable("the upload was aborted by another") from None
            raise

    async def read_chunks(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        def call() -> T:
            with _translated(key):
                body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
                return consume(iter(body.iter_chunks(1024 * 1024)))

        return await self.threads.run(call)

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        def call() -> Range:
            found = self.direct.read_range(key, start, into) if self.direct is not None else None
            return found or self._range(key, start, into)

        return await self.threads.run(call)

    def _range(self, key: str, start: int, into: memoryview) -> Range:
        with _translated(key):
            answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=asked_range(start, into))
            body = answer["Body"].read()
        found = told_range(answer.get("ContentRange"), start, into)
        if found is None or found.length != len(body):
            raise Refused("object-store-refused", "refused: the object store does not give a part of an object")
        into[: len(body)] = body
        return found

    async def delete(self, key: str) -> None:
        def call() -> None:
            with _translated(key):
                self.client.delete_object(Bucket=self.bucket, Key=key)

        await self.threads.run(call)

    async def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        first = await self.threads.run(partial(self._first_keys, prefix, after))
        listed = first.get("Contents", [])
        for entry in listed:
            yield entry["Key"]
        if first["IsTruncated"]:
            async for page in self._pages("list_objects_v2", prefix, StartAfter=listed[-1]["Key"]):
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    def _first_keys(self, prefix: str, after: str) -> ListObjectsV2OutputTypeDef:
        with _translated(prefix):
            return self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, StartAfter=after, MaxKeys=FIRST_KEYS)

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        async for page in self._pages("list_object_versions", prefix):
            # A page gives its delete markers after its versions; both are of the same range of keys.
            listed = [
                ObjectVersion(entry["Key"], entry["VersionId"], is_marker, entry["IsLatest"], entry.get("Size", 0))
                for field, is_marker in (("Versions", False), ("DeleteMarkers", True))
                for entry in page.get(field, ())
            ]
            for version in sorted(listed, key=attrgetter("key")):
                yield version

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        def call(batch: Sequence[ObjectVersion]) -> list[tuple[str, str]]:
            with _translated(batch[0].key):
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": v.key, "VersionId": v.version_id} for v in batch], "Quiet": True},
                )
            failed = answer.get("Errors", [])
            passing = sorted({str(error.get("Code")) for error in failed} & _PASSING)
            if passing:
                raise StoreUnavailable(f"{len(failed)} of {len(batch)} versions were not deleted: {passing}")
            return [(str(error.get("Key")), _reason(str(error.get("Code")))) for error in failed]

        kept: list[tuple[str, str]] = []
        for start in range(0, len(versions), BATCH):
            kept += await self.threads.run(partial(call, versions[start : start + BATCH]))
        if kept:
            raise DeletionRefused(kept)

    async def uploads(self, prefix: str) -> AsyncIterator[Upload]:
        async for page in self._pages("list_multipart_uploads", prefix):
            # S3 sorts them by key; moto gives all on one page, as they were begun.
            for entry in sorted(page.get("Uploads", ()), key=itemgetter("Key")):
                yield Upload(entry["Key"], entry["UploadId"])

    async def abort_upload(self, upload: Upload) -> None:
        def call() -> None:
            with _translated(upload.key):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload.key, UploadId=upload.upload_id)

        try:
            await self.threads.run(call)
        except ObjectNotFound:
            return

    async def _pages(self, operation: Any, prefix: str, **more: str) -> AsyncIterator[dict[str, Any]]:
        pages = iter(self.client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=prefix, **more))
        end: dict[str, Any] = {}

        def advance() -> dict[str, Any]:
            with _translated(prefix):
                return dict(next(pages, end))

        while page := await self.threads.run(advance):
            yield page

    async def _written(self, write: Callable[[threading.Event], T]) -> T:
        """A write of several requests. Cancelling it cannot end its thread, so the thread is told: it begins no further
        request, and what goes on after a writer's deadline is one request
        (:meth:`PlatformSettings.store_write_seconds`).
        """
        stop = threading.Event()
        try:
            return await self.threads.run(lambda: write(stop))
        finally:
            stop.set()

    async def aclose(self) -> None:
        """Ask for nothing more. What is under way goes on in its thread, which ends with it."""
        self.threads.close()
        if self.direct is not None:
            await self.direct.aclose()


def _reason(code: str) -> str:
    """``AccessDenied`` as ``access-denied``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", code).lower()
    return words if re.fullmatch(REASON_CODE_PATTERN, words) else "refused"


def _require_caller(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoreUnavailable("the write was cancelled")


def _again_on_conflict(call: Callable[[], T], stop: threading.Event) -> T:
    for attempt in range(CONFLICT_ATTEMPTS):
        _require_caller(stop)
        try:
            return call()
        except _Conflict:
            if attempt < CONFLICT_ATTEMPTS - 1:
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise StoreUnavailable("concurrent conditional writes kept conflicting")


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Regroup chunks into parts of exactly ``PART_BYTES``, the last one shorter."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= PART_BYTES:
            yield bytes(buffer[:PART_BYTES])
            del buffer[:PART_BYTES]
    if buffer:
        yield bytes(buffer)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
