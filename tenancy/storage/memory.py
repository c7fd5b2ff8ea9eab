"""Implements the object store in memory, for unit tests. Passes the same contract suite as S3."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.storage.objects import ObjectVersion, Range, StoredObject, Upload

T = TypeVar("T")


@dataclass(frozen=True)
class _Version:
    version_id: str
    body: bytes | None  # None: a delete marker

    @property
    def etag(self) -> str:
        # Content-derived, as in S3: a test that relies on ETags to tell A→B→A apart must fail here too.
        return hashlib.md5(self.body or b"", usedforsecurity=False).hexdigest()


@dataclass
class MemoryObjectStore:
    """Versioned objects in a dict, newest version last."""

    objects: dict[str, list[_Version]] = field(default_factory=dict)
    open_uploads: list[Upload] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def _current(self, key: str) -> _Version | None:
        versions = self.objects.get(key)
        return versions[-1] if versions and versions[-1].body is not None else None

    async def get(self, key: str) -> StoredObject:
        current = self._current(key)
        if current is None or current.body is None:
            raise ObjectNotFound(key)
        return StoredObject(current.body, current.etag)

    async def exists(self, key: str) -> bool:
        return self._current(key) is not None

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        current = self._current(key)
        if if_absent and current is not None:
            raise PreconditionFailed(key)
        if if_match is not None and (current is None or current.etag != if_match):
            raise PreconditionFailed(key)
        version = _Version(str(next(self._ids)), bytes(body))
        self.objects.setdefault(key, []).append(version)
        return version.etag

    async def put_chunks(self, key: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> str:
        return await self.put(key, b"".join(chunks), if_absent=if_absent)

    async def read_chunks(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        body = (await self.get(key)).body
        return consume(body[start : start + 65_536] for start in range(0, len(body), 65_536))

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        body = (await self.get(key)).body
        part = body[start : start + len(into)]
        into[: len(part)] = part
        return Range(len(part), len(body))

    async def delete(self, key: str) -> None:
        self.objects.setdefault(key, []).append(_Version(str(next(self._ids)), None))

    async def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        for key in sorted(self.objects):
            if key > after and key.startswith(prefix) and self._current(key) is not None:
                yield key

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                history = self.objects.get(key, [])  # another task may have removed it meanwhile
                for version in list(reversed(history)):
                    size, is_marker = len(version.body or b""), version.body is None
                    yield ObjectVersion(key, version.version_id, is_marker, version is history[-1], size)

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        for doomed in versions:
            kept = [v for v in self.objects.get(doomed.key, []) if v.version_id != doomed.version_id]
            if kept:
                self.objects[doomed.key] = kept
            else:
                self.objects.pop(doomed.key, None)

    async def uploads(self, prefix: str) -> AsyncIterator[Upload]:
        for upload in sorted(self.open_uploads, key=attrgetter("key")):
            if upload.key.startswith(prefix):
                yield upload

    async def abort_upload(self, upload: Upload) -> None:
        self.open_uploads = [held for held in self.open_uploads if held != upload]
