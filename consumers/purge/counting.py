"""Counts deletions idempotently: each place is listed, and counted in the purge's record, before it is emptied.

The record names the places that the sweep in progress has counted. Whoever goes on after a crash, and whoever sweeps at
the same time, finds what is left there and does not count it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from consumers.purge.roots import SweepTarget
from consumers.purge.waiting import Waiting
from schemas.objects.purges import PurgeRecord, StoreCount
from tenancy.lifecycle.purge_records import Note
from tenancy.storage.objects import ObjectStore, ObjectVersion, Upload

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
    async for upload in objects.uploads(root.prefix):
        counting.add(upload)
    return counting.counts()


def added(one: Iterable[StoreCount], other: Iterable[StoreCount]) -> Counts:
    """The sums by store; stores in which nothing was found are left out."""
    sums: dict[str, StoreCount] = {}
    for count in (*one, *other):
        if count.total:
            sums[count.store] = sums[count.store] + count if count.store in sums else count
    return tuple(sums.values())


def with_counts(sweep: int | None, listing: str, found: Counts) -> Note:
    """Count a listing: what the first sweep finds was there at the end of the tenant, what later ones find came late.

    No change where this sweep has counted it. Raises :class:`Waiting` once another process has completed this sweep.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        if record.sweeps != sweep:
            raise Waiting("another process completed this sweep")
        if listing in record.counted:
            return record
        total = "late" if sweep else "found"
        update = {total: added(getattr(record, total), found)}
        return record.evolve(**update, counted=(*record.counted, listing))

    return change


def sweep_ended(sweep: int | None, **update: object) -> Note:
    """Everything that was found is gone, and what another sweep finds came later; with ``update`` that follows from it.

    No change where another process has noted so.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        if record.sweeps != sweep:
            return record
        return record.evolve(sweeps=(sweep or 0) + 1, counted=(), **update)

    return change
