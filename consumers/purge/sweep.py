"""Removing every version, delete marker and open upload under a prefix, in constant memory.

A plain DELETE on a versioned bucket adds a marker and deletes nothing; a listing of current objects then says that
the prefix is empty. Only versions count here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from schemas.records import Residue
from tenancy.errors import DeletionRefused, Refused
from tenancy.objects import ObjectStore, ObjectVersion

BATCH = 1000  # what one DeleteObjects request takes, and the most that a page of a listing holds
IN_FLIGHT = 4  # DeleteObjects requests at a time: on S3 one takes several times as long as the listing of its page


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
    """What one sweep removed. ``objects``: distinct keys that had a version; one of delete markers alone is none."""

    objects: int
    residue: Residue


async def sweep(objects: ObjectStore, store: Store) -> Swept:
    """Remove everything and say what was there.

    What the store refuses to remove holds up nothing else: it is raised after everything was tried, as one
    :class:`DeletionRefused` of all that was kept or, where whole requests were refused, as the first :class:`Refused`.
    """
    versions = markers = uploads = distinct = 0
    last_key: str | None = None
    removal = _Removal(objects)
    try:
        async for version in objects.versions(store.prefix):
            if not store.is_doomed(version):
                continue
            markers += version.is_delete_marker
            if not version.is_delete_marker:
                versions += 1
                # A page of S3's lists its delete markers after its versions, not among them.
                distinct += version.key != last_key
                last_key = version.key
            await removal.take(version)
        await removal.finish()
    finally:
        await removal.settle()
    async for upload in objects.uploads(store.prefix):
        uploads += 1
        await objects.abort_upload(upload)
    if removal.kept:
        raise DeletionRefused(removal.kept)
    if removal.refusals:
        raise removal.refusals[0]
    return Swept(distinct, Residue(versions=versions, delete_markers=markers, uploads=uploads))


@dataclass
class _Removal:
    """Deletes in batches, while the listing goes on, always one batch behind it.

    A listing goes on from the last version of the page before. Were that one deleted first, a store may not find its
    place again, and end the listing as if nothing were left (moto 5.2 does).
    """

    objects: ObjectStore
    filling: list[ObjectVersion] = field(default_factory=list)
    behind: list[ObjectVersion] = field(default_factory=list)
    running: set[asyncio.Task[None]] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    refusals: list[Refused] = field(default_factory=list)

    async def take(self, version: ObjectVersion) -> None:
        """Returns once there is room for more, so that no more than a few batches are held."""
        self.filling.append(version)
        if len(self.filling) == BATCH:
            await self._delete(self.behind)
            self.behind, self.filling = self.filling, []

    async def finish(self) -> None:
        """The listing is over: delete the rest and wait for all."""
        await self._delete(self.behind)
        await self._delete(self.filling)
        self.behind = self.filling = []
        await self._wait(asyncio.ALL_COMPLETED)

    async def settle(self) -> None:
        """Nothing of this goes on, whatever happened."""
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _delete(self, batch: list[ObjectVersion]) -> None:
        if batch:
            self.running.add(asyncio.create_task(self.objects.delete_versions(batch)))
        if len(self.running) == IN_FLIGHT:
            await self._wait(asyncio.FIRST_COMPLETED)

    async def _wait(self, until: str) -> None:
        if not self.running:
            return
        done, self.running = await asyncio.wait(self.running, return_when=until)
        for error in [error for task in done if (error := task.exception()) is not None]:
            if isinstance(error, DeletionRefused):
                self.kept |= error.codes
            elif isinstance(error, Refused):
                self.refusals.append(error)
            else:
                raise error
