"""Reads and writes all tenant data: sealed, under the tenant's own prefix, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from tenancy.errors import ObjectNotFound, PreconditionFailed, SealBroken
from tenancy.storage.keys import TenantKeys
from tenancy.storage.objects import ObjectStore, erase_prefix
from tenancy.storage.ranges import RangeBuffers, opened_in_ranges
from tenancy.storage.sealing import FRAME_BYTES, open_chunks, open_sealed, seal, seal_chunks
from tenancy.tenant_id import TenantId

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class TenantStore:
    """One tenant's sealed objects. Keys are relative (``examples/<id>``): no other tenant's key can be named."""

    objects: ObjectStore
    keys: TenantKeys

    @property
    def tenant(self) -> TenantId:
        return self.keys.tenant

    def _full(self, relative: str) -> str:
        return object_keys.tenant_key(self.tenant, relative)

    async def put(
        self, relative: str, plaintext: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Seal and write. Raises :class:`PreconditionFailed`."""
        key = self._full(relative)
        sealed = await _not_on_the_loop(seal, self.keys.data_key, key, plaintext)
        return await self.objects.put(key, sealed, if_absent=if_absent, if_match=if_match)

    async def get(self, relative: str) -> tuple[bytes, str]:
        """The opened bytes and the ETag. Raises :class:`ObjectNotFound` or :class:`SealBroken`."""
        key = self._full(relative)
        stored = await self.objects.get(key)
        return await _not_on_the_loop(open_sealed, self.keys.data_key, key, stored.body), stored.etag

    async def put_record(
        self, relative: str, record: BaseModel, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Seal and write a record as JSON."""
        return await self.put(relative, record.model_dump_json().encode(), if_absent=if_absent, if_match=if_match)

    async def put_if_absent(self, relative: str, record: BaseModel) -> bool:
        """Seal and write a record, or leave the one that is there; whether it was written."""
        try:
            await self.put_record(relative, record, if_absent=True)
        except PreconditionFailed:
            return False
        return True

    async def get_record(self, relative: str, model: type[ModelT]) -> tuple[ModelT, str]:
        """Read a record and its ETag. Raises :class:`ObjectNotFound` or :class:`SealBroken`."""
        body, etag = await self.get(relative)
        try:
            return read_tolerant(model, body), etag
        except ValidationError:
            raise SealBroken(f"it is not a {model.__name__}") from None

    async def find_record(self, relative: str, model: type[ModelT]) -> tuple[ModelT, str] | tuple[None, None]:
        """A record and its ETag, or two times None where there is none. Raises :class:`SealBroken`."""
        try:
            return await self.get_record(relative, model)
        except ObjectNotFound:
            return None, None

    async def put_file(self, relative: str, path: Path, *, if_absent: bool = False) -> None:
        """Seal and upload a file of any size in constant memory."""
        key = self._full(relative)
        await self.objects.put_chunks(key, seal_chunks(self.keys.data_key, key, _read(path)), if_absent=if_absent)

    async def get_file(self, relative: str, path: Path) -> None:
        """Download and open into ``path``, which appears only once every frame was authentic."""
        key = self._full(relative)
        partial = path.with_name(path.name + ".part")

        def write(chunks: Iterator[bytes]) -> None:
            try:
                with partial.open("wb") as target:
                    for chunk in open_chunks(self.keys.data_key, key, chunks):
                        target.write(chunk)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

        await self.objects.read_chunks(key, write)

    async def exists(self, relative: str) -> bool:
        return await self.objects.exists(self._full(relative))

    async def erase(self, relative: str) -> None:
        """Remove every version of one object for good, not only its current one."""
        key = self._full(relative)
        await self.objects.delete_versions([v async for v in self.objects.versions(key) if v.key == key])

    async def erase_folder(self, *parts: str) -> None:
        """Remove every version of everything in a folder of the tenant's prefix."""
        await erase_prefix(self.objects, object_keys.tenant_area(self.tenant, *parts))

    async def list(self, *parts: str, after: str = "") -> AsyncIterator[str]:
        """Relative keys of everything current in an area or a folder of it, in lexical order, behind ``after``."""
        strip = len(object_keys.tenant_prefix(self.tenant))
        start = self._full(after) if after else ""
        async for key in self.objects.keys(object_keys.tenant_area(self.tenant, *parts), after=start):
            yield key[strip:]


async def file_in_ranges(
    objects: ObjectStore,
    tenant: TenantId,
    store: Awaitable[TenantStore],
    relative: str,
    file: BinaryIO,
    buffers: RangeBuffers,
) -> None:
    """Download and open a tenant's file in ranges side by side: see :func:`opened_in_ranges`. The first one is received
    while the tenant's keys are being opened.
    """

    async def data_key() -> bytes:
        return (await store).keys.data_key

    key = object_keys.tenant_key(tenant, relative)
    await opened_in_ranges(objects, data_key, key, file, buffers)


async def _not_on_the_loop(
    change: Callable[[bytes, str, bytes], bytes], data_key: bytes, key: str, body: bytes
) -> bytes:
    """Tens of megabytes would stop whatever else the event loop has to do; one frame costs less than a thread."""
    if len(body) <= FRAME_BYTES:
        return change(data_key, key, body)
    return await asyncio.to_thread(change, data_key, key, body)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(FRAME_BYTES):
            yield chunk
