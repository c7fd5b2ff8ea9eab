"""Deletes every version, delete marker and open upload under a prefix, in constant memory.

A plain DELETE on a versioned bucket adds a marker and deletes nothing; a listing of current objects then says that
the prefix is empty. Only versions count here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from consumers.purge.roots import SweepTarget
from tenancy.errors import DeletionRefused, Refused
from tenancy.storage.objects import Batch, ObjectStore, ObjectVersion, Upload, in_batches

IN_FLIGHT = 4  # DeleteObjects requests at a time: on S3 one takes several times as long as the listing of its page


Undeleted = Mapping[str, tuple[str, int]]
"""What stores of the registry keep back: a reason code, and the number of versions, markers and uploads where known."""


class Count(Protocol):
    """Is told of everything before it is removed, in the order of keys, and done with it when it returns."""

    async def versions(self, batch: Batch[ObjectVersion]) -> None: ...

    async def uploads(self, batch: Batch[Upload]) -> None: ...


async def sweep(objects: ObjectStore, root: SweepTarget, count: Count | None = None) -> Undeleted:
    """Remove everything. What a store refuses to remove holds up nothing else, and is said once all was tried."""
    removal = _Removal(objects, root)
    try:
        async for versions in in_batches(root.versions(objects)):
            if count is not None:
                await count.versions(versions)
            await removal.begin(versions)
        await removal.finish()
        async for uploads in in_batches(root.uploads(objects)):
            if count is not None:
                await count.uploads(uploads)
            await removal.abort(uploads)
    except Refused as refused:
        # Rights to list, most likely: what there is cannot be known.
        removal.kept |= {store: (refused.code, 0) for store in root.stores() if store not in removal.kept}
    finally:
        await removal.quiesce()
    return removal.kept


@dataclass
class _Removal:
    """Deletes batches while the listing goes on."""

    objects: ObjectStore
    root: SweepTarget
    running: set[asyncio.Task[None]] = field(default_factory=set)
    kept: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def begin(self, batch: Batch[ObjectVersion]) -> None:
        """Returns once there is room for more, so that no more than a few batches are held."""
        self.running.add(asyncio.create_task(self._delete(batch)))
        if len(self.running) == IN_FLIGHT:
            await self._wait(asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """The listing is over: wait for all."""
        await self._wait(asyncio.ALL_COMPLETED)

    async def quiesce(self) -> None:
        """Nothing of this goes on, whatever happened."""
        await asyncio.gather(*self.running, return_exceptions=True)

    async def abort(self, batch: Batch[Upload]) -> None:
        for upload in batch.items:
            try:
                await self.objects.abort_upload(upload)
            except Refused as refused:
                self._keep(upload.key, refused.code)

    async def _delete(self, batch: Batch[ObjectVersion]) -> None:
        try:
            await self.objects.delete_versions(batch.items)
        except DeletionRefused as refused:
            for key, code in refused.kept:
                self._keep(key, code)
        except Refused as refused:
            for version in batch.items:
                self._keep(version.key, refused.code)

    def _keep(self, key: str, code: str) -> None:
        store = self.root.store_of(key)
        other, count = self.kept.get(store, (code, 0))
        self.kept[store] = (min(code, other), count + 1)

    async def _wait(self, until: str) -> None:
        if not self.running:
            return
        done, self.running = await asyncio.wait(self.running, return_when=until)
        for error in [task.exception() for task in done]:  # of all, or asyncio complains of those that nobody asked for
            if error is not None:
                raise error
