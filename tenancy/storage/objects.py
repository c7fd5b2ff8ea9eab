"""Declares the object store's port: one bucket, versioned, with conditional writes.

One Protocol with two implementations, S3 (``tenancy.storage.s3``) and memory (``tenancy.storage.memory``); the same
contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

BATCH = 1000
"""What one DeleteObjects request takes, and the most that a page of a listing holds."""


@dataclass(frozen=True)
class StoredObject:
    """An object's bytes and the ETag that an ``if_match`` write must name."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class Range:
    """How much of an object was read, and how large all of it is."""

    length: int
    object_bytes: int


@dataclass(frozen=True)
class ObjectVersion:
    """One version or delete marker of a key. ``size_bytes`` is of the stored body; a marker has none."""

    key: str
    version_id: str
    is_delete_marker: bool
    is_latest: bool
    size_bytes: int = 0


@dataclass(frozen=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str


Listed = TypeVar("Listed", ObjectVersion, Upload)


@dataclass(frozen=True)
class Batch(Generic[Listed]):
    """What is removed at once, of consecutive keys; everything of them, unless one key has more than a batch holds."""

    items: Sequence[Listed]
    is_whole: bool = True

    @property
    def last_key(self) -> str:
        return self.items[-1].key


class ObjectStore(Protocol):
    """Conditional, versioned object storage. Every method may raise :class:`tenancy.errors.StoreUnavailable`."""

    async def get(self, key: str) -> StoredObject:
        """Raises :class:`ObjectNotFound`."""
        ...

    async def exists(self, key: str) -> bool: ...

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write and return the new ETag. Raises :class:`PreconditionFailed`; retries a 409 conflict itself."""
        ...

    async def put_chunks(self, key: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> str:
        """Write a body of any size in constant memory. A failed upload leaves no parts behind."""
        ...

    async def read_chunks(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        """Stream the body through ``consume``, which runs off the event loop. Raises :class:`ObjectNotFound`."""
        ...

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        """Fill ``into`` with what lies from ``start`` on, which is within the object, as far as there is as much.
        Raises :class:`ObjectNotFound`.

        Cancelled, it may go on: what it fills is for nothing else from then on.
        """
        ...

    async def delete(self, key: str) -> None:
        """Put a delete marker. Older versions stay: see :meth:`delete_versions`."""
        ...

    def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Every current key under ``prefix`` that is greater than ``after``, in lexical order."""
        ...

    def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        """Every version and delete marker under ``prefix``, in the order of their keys."""
        ...

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        """Remove versions and markers for good, however many. One that is gone already is no error.

        Raises :class:`DeletionRefused` when some are kept, after all others were removed.
        """
        ...

    def uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Every open multipart upload under ``prefix``, in the order of their keys."""
        ...

    async def abort_upload(self, upload: Upload) -> None:
        """Remove an open upload's parts. An upload that is gone already is no error."""
        ...


async def in_batches(listing: AsyncIterator[Listed]) -> AsyncIterator[Batch[Listed]]:
    """What ``listing`` gives by key, in batches, each once something behind it was listed.

    A listing goes on from the last version of the page before. Were that one removed first, a store may not find its
    place again, and end the listing as if nothing were left (moto 5.2 does).
    """
    whole: list[Listed] = []  # of keys that are over
    last: list[Listed] = []  # of the key that the listing is at
    is_long = False  # whether some of that key went already
    async for item in listing:
        if last and item.key != last[0].key:
            if is_long:
                yield Batch(last, is_whole=False)
            else:
                if len(whole) + len(last) > BATCH:
                    yield Batch(whole)
                    whole = []
                whole += last
            last, is_long = [], False
        elif len(last) == BATCH:
            if whole:
                yield Batch(whole)
                whole = []
            yield Batch(last, is_whole=False)
            last, is_long = [], True
        last.append(item)
    if is_long or len(whole) + len(last) > BATCH:
        if whole:
            yield Batch(whole)
        yield Batch(last, is_whole=not is_long)
    elif last:
        yield Batch(whole + last)


async def erase_prefix(objects: ObjectStore, prefix: str) -> None:
    """Remove every version and delete marker under ``prefix``, in constant memory."""
    async for batch in in_batches(objects.versions(prefix)):
        await objects.delete_versions(batch.items)
