"""Searches everything that is stored or said for raw identifiers, decrypted where there is a key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from producers.demo.redelivery import read_all
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import MalformedEvent, decode
from schemas.bus.events import ExampleProposed
from schemas.bus.topics import TOPICS
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.bus import RawMessage
from tenancy.errors import KeyDestroyed, ObjectNotFound
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

WHOLE_BUCKET = ""
Place = tuple[str, bytes]
"""Where some bytes are, and the bytes: the name is searched too."""


class Search:
    """Looks for texts that stand alone: seven digits within a digest are no record number."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [text.encode().lower() for text in texts]
        of_each = b"|".join(map(re.escape, self._texts))
        self._alone = re.compile(rb"(?<![0-9a-z])(?:" + of_each + rb")(?![0-9a-z])")
        self.places = 0
        self.found: list[str] = []
        """Names of the places that hold one."""

    def look(self, place: Place) -> None:
        name, body = place
        self.places += 1
        if self._is_in(name.encode(errors="surrogateescape")) or self._is_in(body):
            self.found.append(name)

    def _is_in(self, said: bytes) -> bool:
        """Whether one stands alone in it: looked for without a pattern first, which takes a sixth of the time."""
        lower = said.lower()
        return any(text in lower for text in self._texts) and self._alone.search(lower) is not None

    async def look_at_all(self, places: AsyncIterator[Place]) -> None:
        async for place in places:
            await asyncio.to_thread(self.look, place)


async def bucket(tenancy: Tenancy) -> AsyncIterator[Place]:
    """Every object as it lies there, and the names of those that are gone."""
    for key in {version.key async for version in tenancy.objects.versions(WHOLE_BUCKET)}:
        try:
            yield f"bucket {key}", (await tenancy.objects.get(key)).body
        except ObjectNotFound:
            yield f"bucket {key}", b""  # a delete marker, or gone since


async def opened(tenancy: Tenancy, tenant: TenantId) -> AsyncIterator[Place]:
    """The tenant's objects with its key; none once the key is destroyed."""
    try:
        store = await tenancy.store(tenant)
    except KeyDestroyed:
        return
    for area in object_keys.TENANT_AREAS:
        async for name in store.list(area):
            yield f"opened {name}", (await store.get(name))[0]


async def bus(tenancy: Tenancy, client: Mapping[str, Any], tenant: TenantId) -> AsyncIterator[Place]:
    """Every message of every topic, and the tenant's proposals with its key while there is one."""
    try:
        store = await tenancy.store(tenant)
    except KeyDestroyed:
        store = None
    for number, message in enumerate(await read_all(client, tuple(TOPICS), None)):
        yield f"{message.topic} {number}", message_bytes(message)
        if store is not None and message.key == tenant.encode():
            yield f"{message.topic} {number}, decrypted", _decrypted(message, store)


def message_bytes(message: RawMessage) -> bytes:
    headers = b" ".join(name.encode() + b" " + (value or b"") for name, value in message.headers)
    return b" ".join((message.key or b"", message.value or b"", headers))


def _decrypted(message: RawMessage, store: TenantStore) -> bytes:
    try:
        data = decode(message.key, message.value, message.headers).data
    except MalformedEvent:
        return b""
    if not isinstance(data, ExampleProposed):
        return b""
    return store.keys.decrypt_inline(data.content.reference.jwe, ExampleContent).model_dump_json().encode()


async def files(*folders: Path) -> AsyncIterator[Place]:
    """Every file under the folders."""
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            yield str(path), await asyncio.to_thread(_bytes, path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # a service's temporary file, gone since
