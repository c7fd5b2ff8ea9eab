"""Probes what an object store lacks of what this system stands on, by using it under a prefix of its own.

One probe for each guarantee that some server that calls itself S3 was seen without. Everything is written under
``probes/<id>/``, and removed afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from schemas.objects.object_keys import probe_key, probe_prefix
from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused, StoreUnavailable
from tenancy.storage.objects import ObjectStore

WRITERS = 8
LARGE_BYTES = 9 * 1024 * 1024
"""More than one part of a multipart upload."""
NO_ETAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True)
class Probe:
    """``lacks`` says in one line what the store did otherwise; ``None``: nothing. ``needed_for``: what stands on it."""

    name: str
    needed_for: str
    lacks: Callable[[ObjectStore, str], Awaitable[str | None]]


@dataclass(frozen=True)
class Found:
    """What one probe found. ``lack`` is ``None`` where the store does what is asked of it."""

    name: str
    lack: str | None


async def probed(objects: ObjectStore, probe_id: str) -> AsyncIterator[Found]:
    """Use the store as this system does, and say of each guarantee whether it gives it. Nothing is left there.

    ``probe_id`` is one that nobody else uses.
    """
    prefix = probe_prefix(probe_id)
    try:
        for number, probe in enumerate(PROBES):
            try:
                lack = await probe.lacks(objects, probe_key(probe_id, number))
            except (StoreUnavailable, Refused, ObjectNotFound, PreconditionFailed) as error:
                lack = f"it was not carried out ({error})"
            yield Found(probe.name, None if lack is None else f"{lack}; {probe.needed_for}")
    finally:
        await _remove(objects, prefix)


async def _remove(objects: ObjectStore, prefix: str) -> None:
    """Leave nothing, also in a store without versions, where each object is deleted by its key."""
    with suppress(StoreUnavailable, Refused):
        for upload in [upload async for upload in objects.uploads(prefix)]:
            await objects.abort_upload(upload)
    with suppress(StoreUnavailable, Refused):
        await objects.delete_versions([version async for version in objects.versions(prefix)])
    for key in [key async for key in objects.keys(prefix)]:
        await objects.delete(key)


async def _reads_what_was_written(objects: ObjectStore, key: str) -> str | None:
    etag = await objects.put(key, b"probe")
    stored = await objects.get(key)
    if (stored.body, stored.etag) != (b"probe", etag):
        return "an object that was just written is read back otherwise"
    return None if [found async for found in objects.keys(key)] == [key] else "an object just written is not listed"


async def _creates_once(objects: ObjectStore, key: str) -> str | None:
    won = await _winners([objects.put(key, b"%d" % number, if_absent=True) for number in range(WRITERS)])
    return None if won == 1 else f"of {WRITERS} creations of one object at once (If-None-Match), {won} succeeded"


async def _creates_over_a_marker(objects: ObjectStore, key: str) -> str | None:
    await objects.put(key, b"probe")
    await objects.delete(key)
    try:
        await objects.put(key, b"probe", if_absent=True)
    except PreconditionFailed:
        return "an object that was deleted cannot be created anew (If-None-Match over a delete marker)"
    return None


async def _swaps_once(objects: ObjectStore, key: str) -> str | None:
    etag = await objects.put(key, b"probe")
    won = await _winners([objects.put(key, b"%d" % number, if_match=etag) for number in range(WRITERS)])
    return None if won == 1 else f"of {WRITERS} swaps of one object from one ETag at once (If-Match), {won} succeeded"


async def _swaps_nothing_gone(objects: ObjectStore, key: str) -> str | None:
    if await _winners([objects.put(key, b"probe", if_match=NO_ETAG)]):
        return "an object that was never there is swapped (If-Match)"
    etag = await objects.put(key, b"probe")
    await objects.delete(key)
    if await _winners([objects.put(key, b"again", if_match=etag)]):
        return "an object that was deleted is swapped (If-Match over a delete marker)"
    return None


async def _keeps_versions(objects: ObjectStore, key: str) -> str | None:
    await objects.put(key, b"one")
    await objects.put(key, b"two")
    await objects.delete(key)
    versions = [version async for version in objects.versions(key)]
    kept = sorted((version.is_delete_marker, version.size_bytes) for version in versions)
    if kept != [(False, 3), (False, 3), (True, 0)]:
        return f"of two versions and a delete marker, {len(versions)} are listed: is the bucket versioned?"
    await objects.delete_versions(versions)
    left = len([version async for version in objects.versions(key)])
    return f"{left} of 3 versions are listed after their deletion" if left else None


async def _takes_large_objects(objects: ObjectStore, key: str) -> str | None:
    chunks = [bytes(LARGE_BYTES)]
    await objects.put_chunks(key, chunks, if_absent=True)
    if await objects.read_chunks(key, lambda parts: sum(map(len, parts))) != LARGE_BYTES:
        return "an object that was uploaded in parts is read back otherwise"
    if await _winners([objects.put_chunks(key, chunks, if_absent=True)]):
        return "an upload in parts overwrites an object that is there (If-None-Match at completion)"
    left = len([upload async for upload in objects.uploads(key)])
    return f"{left} uploads are listed that were completed or aborted" if left else None


async def _winners(writes: list[Awaitable[str]]) -> int:
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, PreconditionFailed):
            raise outcome
    return sum(isinstance(outcome, str) for outcome in outcomes)


PROBES = (
    Probe("read after write", "everything stands on it", _reads_what_was_written),
    Probe("create if absent", "without it an event takes effect twice", _creates_once),
    Probe("create anew", "without it what a purge or a withdrawal removed blocks its key", _creates_over_a_marker),
    Probe("compare and swap", "without it two writers of a tenant's state overwrite each other", _swaps_once),
    Probe("no swap of what is gone", "without it a late writer brings back what was purged", _swaps_nothing_gone),
    Probe("versions", "without them a purge cannot show that nothing is left", _keeps_versions),
    Probe("multipart upload", "adapters are written with it, and never over one another", _takes_large_objects),
)
