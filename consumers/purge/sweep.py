"""Removing every version, delete marker and open upload under a prefix, in constant memory.

A plain DELETE on a versioned bucket adds a marker and deletes nothing; a listing of current objects then says that
the prefix is empty. Only versions count here.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records import Residue
from tenancy.errors import DeletionRefused
from tenancy.objects import ObjectStore, ObjectVersion

BATCH = 1000  # what one DeleteObjects request takes


@dataclass(frozen=True)
class Store:
    """A place in the bucket that can hold a tenant's data. ``keeps_current``: only superseded versions go."""

    name: str
    prefix: str
    keeps_current: bool = False

    def is_doomed(self, version: ObjectVersion) -> bool:
        return not (self.keeps_current and version.is_latest and not version.is_delete_marker)


@dataclass(frozen=True)
class Swept:
    """What one sweep removed."""

    objects: int
    residue: Residue


async def sweep(objects: ObjectStore, store: Store) -> Swept:
    """Remove everything and say what was there. Raises :class:`DeletionRefused` once all else is removed."""
    versions = markers = uploads = distinct = 0
    kept: dict[str, str] = {}
    last_key: str | None = None
    batch: list[ObjectVersion] = []
    async for version in objects.versions(store.prefix):
        if not store.is_doomed(version):
            continue
        versions += not version.is_delete_marker
        markers += version.is_delete_marker
        distinct += version.key != last_key
        last_key = version.key
        batch.append(version)
        if len(batch) == BATCH:
            kept |= await _removed(objects, batch)
            batch = []
    if batch:
        kept |= await _removed(objects, batch)
    async for upload in objects.uploads(store.prefix):
        uploads += 1
        await objects.abort_upload(upload)
    if kept:
        raise DeletionRefused(kept)
    return Swept(distinct, Residue(versions=versions, delete_markers=markers, uploads=uploads))


async def _removed(objects: ObjectStore, batch: list[ObjectVersion]) -> dict[str, str]:
    """Remove a batch; what the store keeps of it, and why."""
    try:
        await objects.delete_versions(batch)
    except DeletionRefused as refused:
        return refused.codes
    return {}
