"""An object store in memory that counts requests and answers each after the time that a region's bucket takes.

Listings go page by page, a request for each thousand, through an index in the order of keys, as S3 keeps one: what a
listing costs does not depend on what else lies in the bucket.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import BATCH, ObjectVersion, StoredObject, Upload


@dataclass
class CountedStore(MemoryObjectStore):
    """``seconds``: for each request, however many are under way."""

    seconds: float = 0.0
    requests: int = 0
    _index: list[str] = field(default_factory=list)

    def taken(self) -> int:
        """The requests since the last call."""
        taken, self.requests = self.requests, 0
        return taken

    async def _request(self) -> None:
        self.requests += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)

    async def get(self, key: str) -> StoredObject:
        await self._request()
        return await super().get(key)

    async def exists(self, key: str) -> bool:
        await self._request()
        return await super().exists(key)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        await self._request()
        is_new = key not in self.objects
        etag = await super().put(key, body, if_absent=if_absent, if_match=if_match)
        if is_new:
            insort(self._index, key)
        return etag

    async def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        async for key in self._listed(prefix, after):
            if self._current(key) is not None:
                yield key

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        async for key in self._listed(prefix):
            history = list(self.objects.get(key, []))
            for version in reversed(history):
                size, is_marker = len(version.body or b""), version.body is None
                yield ObjectVersion(key, version.version_id, is_marker, version is history[-1], size)

    async def _listed(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        last = after
        while True:
            await self._request()
            at = bisect_left(self._index, max(prefix, last))
            page = [key for key in self._index[at : at + BATCH + 1] if key > last and key.startswith(prefix)][:BATCH]
            for key in page:
                yield key
            if len(page) < BATCH:
                return
            last = page[-1]

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        if not versions:
            return
        await self._request()
        await super().delete_versions(versions)
        for key in {version.key for version in versions} - self.objects.keys():
            at = bisect_left(self._index, key)
            if self._index[at : at + 1] == [key]:
                del self._index[at]

    async def uploads(self, prefix: str) -> AsyncIterator[Upload]:
        await self._request()
        async for upload in super().uploads(prefix):
            yield upload
