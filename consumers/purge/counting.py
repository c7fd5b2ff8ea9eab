"""Counts deletions idempotently: each batch is counted in the purge's record before it is deleted.

The record names the key up to which everything is counted. Whoever goes on after a crash, and whoever sweeps at the
same time, finds what is left of those keys and does not count it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from consumers.purge.roots import SweepTarget
from consumers.purge.waiting import Waiting
from schemas.objects.purges import PurgeRecord, StoreCount
from tenancy.lifecycle.purge_records import Note, PurgeRecords
from tenancy.storage.objects import Batch, Listed, ObjectStore, ObjectVersion, Upload

Counts = tuple[StoreCount, ...]


@dataclass
class Counting:
    """Adds up what is listed, in the order of keys and in constant memory.

    ``objects`` counts keys that have a version; a key of delete markers alone is none. Sizes are those that the
    listing gives: of versions, not of the parts of open uploads.
    """

    root: SweepTarget
    by_store: dict[str, Counter[str]] = field(default_factory=dict)
    last_key: str | None = None

    def add(self, item: ObjectVersion | Upload) -> None:
        count = self.by_store.setdefault(self.root.store_of(item.key), Counter(size_bytes=0))
        if isinstance(item, Upload):
            count["uploads"] += 1
        elif item.is_delete_marker:
            count["delete_markers"] += 1
        else:
            count["versions"] += 1
            count["size_bytes"] += item.size_bytes
            count["objects"] += item.key != self.last_key
            self.last_key = item.key

    def counts(self) -> Counts:
        return tuple(StoreCount(store=name, **count) for name, count in self.by_store.items())


async def listed(objects: ObjectStore, root: SweepTarget) -> Counts:
    """What a listing finds in ``root``. It believes nothing else."""
    counting = Counting(root)
    async for version in root.versions(objects):
        counting.add(version)
    async for upload in root.uploads(objects):
        counting.add(upload)
    return counting.counts()


def added(one: Iterable[StoreCount], other: Iterable[StoreCount]) -> Counts:
    """The sums by store; stores in which nothing was found are left out."""
    sums: dict[str, StoreCount] = {}
    for count in (*one, *other):
        if count.total:
            sums[count.store] = sums[count.store] + count if count.store in sums else count
    return tuple(sums.values())


def with_counts(sweep: int | None, listing: str, key: str, found: Callable[[str], Counts]) -> Note:
    """Count a listing up to ``key``: what the first sweep finds was there at the end of the tenant, what later ones
    find came late. ``found`` is given up to where the record has counted it.

    No change where it has counted that far. Raises :class:`Waiting` once another process has completed this sweep.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        if record.sweeps != sweep:
            raise Waiting("another process completed this sweep")
        through = record.counted_through.get(listing, "")
        if key <= through:
            return record
        total = "late" if sweep else "found"
        update = {total: added(getattr(record, total), found(through))}
        return record.evolve(**update, counted_through={**record.counted_through, listing: key})

    return change


@dataclass
class SweepCount:
    """Counts one sweep of ``root`` in the record of the purge that sweeps.

    Attempts belong to one sweep until a listing is empty.
    """

    objects: ObjectStore
    records: PurgeRecords
    tenant: str
    purge_id: str
    root: SweepTarget
    sweep: int
    through: Mapping[str, str] = field(default_factory=dict)

    async def versions(self, batch: Batch[ObjectVersion]) -> None:
        """Note them. Raises :class:`Waiting` once another process has completed this sweep."""
        await self._note(self.root.name, batch, self.root.versions(self.objects, batch.last_key))

    async def uploads(self, batch: Batch[Upload]) -> None:
        """As :meth:`versions`."""
        await self._note(f"{self.root.name}.uploads", batch, self.root.uploads(self.objects, batch.last_key))

    async def _note(self, listing: str, batch: Batch[Listed], of_last_key: AsyncIterator[Listed]) -> None:
        key = batch.last_key
        if key <= self.through.get(listing, ""):
            return
        of_long_key = None if batch.is_whole else await self._of_long_key(of_last_key)

        def found(through: str) -> Counts:
            if of_long_key is not None:
                return of_long_key
            return self._counts(item for item in batch.items if item.key > through)

        counted = with_counts(self.sweep, listing, key, found)
        record, _ = await self.records.note(self.tenant, self.purge_id, counted)
        self.through = record.counted_through

    async def _of_long_key(self, listing: AsyncIterator[Listed]) -> Counts:
        """A key of more than a batch is counted by a listing of its own, before the first of it is removed."""
        counting = Counting(self.root)
        async for item in listing:
            counting.add(item)
        return counting.counts()

    def _counts(self, items: Iterable[ObjectVersion | Upload]) -> Counts:
        counting = Counting(self.root)
        for item in items:
            counting.add(item)
        return counting.counts()


def sweep_ended(sweep: int | None, **update: object) -> Note:
    """Everything that was found is gone, and what another sweep finds came later; with ``update`` that follows from it.

    No change where another process has noted so.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        if record.sweeps != sweep:
            return record
        return record.evolve(sweeps=(sweep or 0) + 1, counted_through={}, **update)

    return change
