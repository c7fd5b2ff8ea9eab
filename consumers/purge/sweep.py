"""Removing every version, delete marker and open upload under a prefix, in constant memory.

A plain DELETE on a versioned bucket adds a marker and deletes nothing; a listing of current objects then says that
the prefix is empty. Only versions count here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from tenancy.errors import DeletionRefused, Refused
from tenancy.objects import Batch, ObjectStore, ObjectVersion, Upload, in_batches

IN_FLIGHT = 4  # DeleteObjects requests at a time: on S3 one takes several times as long as the listing of its page


@dataclass(frozen=True)
class Store:
    """A place in the bucket that can hold a tenant's data. ``keeps_current``: only superseded versions go."""

    name: str
    prefix: str
    keeps_current: bool = False

    def is_doomed(self, version: ObjectVersion) -> bool:
        return not (self.keeps_current and version.is_latest and not version.is_delete_marker)

    async def doomed(self, objects: ObjectStore) -> AsyncIterator[ObjectVersion]:
        """What a listing finds in this place that is to go, in the order of keys."""
        async for version in objects.versions(self.prefix):
            if self.is_doomed(version):
                yield version


class Count(Protocol):
    """Is told of everything before it is removed, in the order of keys, and done with it when it returns."""

    async def versions(self, batch: Batch[ObjectVersion]) -> None: ...

    async def uploads(self, batch: Batch[Upload]) -> None: ...


async def sweep(objects: ObjectStore, store: Store, count: Count | None = None) -> None:
    """Remove everything.

    What the store refuses to remove holds up nothing else: it is raised after everything was tried, as one
    :class:`DeletionRefused` of all that was kept or, where whole requests were refused, as the first :class:`Refused`.
    """
    removal = _Removal(objects)
    try:
        async for versions in in_batches(store.doomed(objects)):
            if count is not None:
                await count.versions(versions)
            await removal.begin(versions)
        await removal.finish()
    finally:
        await removal.settle()
    async for uploads in in_batches(objects.uploads(store.prefix)):
        if count is not None:
            await count.uploads(uploads)
        for upload in uploads.items:
            await objects.abort_upload(upload)
    if removal.kept:
        raise DeletionRefused(removal.kept)
    if removal.refusals:
        raise removal.refusals[0]


@dataclass
class _Removal:
    """Deletes batches while the listing goes on."""

    objects: ObjectStore
    running: set[asyncio.Task[None]] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)
    refusals: list[Refused] = field(default_factory=list)

    async def begin(self, batch: Batch[ObjectVersion]) -> None:
        """Returns once there is room for more, so that no more than a few batches are held."""
        self.running.add(asyncio.create_task(self.objects.delete_versions(batch.items)))
        if len(self.running) == IN_FLIGHT:
            await self._wait(asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """The listing is over: wait for all."""
        await self._wait(asyncio.ALL_COMPLETED)

    async def settle(self) -> None:
        """Nothing of this goes on, whatever happened."""
        await asyncio.gather(*self.running, return_exceptions=True)

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
