"""Counting, emptying and listing a tenant's stores in the bucket. What a store keeps back is said, not raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consumers.purge.sweep import Store, sweep
from schemas import object_keys
from schemas.records import LeaseRecord, PurgeRecord, StoreCount, StoreRefusal
from schemas.stores import UndeclaredStore, store_of_key, swept
from tenancy.bootstrap import Tenancy
from tenancy.errors import DeletionRefused, KeyDestroyed, ObjectNotFound, Refused, SealBroken
from tenancy.tenant_id import TenantId

KEY_STORE = "keys.tenant"
STRAYS = "objects.strays"

Kept = Mapping[str, tuple[str, int]]
"""What stores keep back: store to reason code and number of versions, markers and uploads."""


def roots(tenant: str) -> tuple[Store, ...]:
    """The places in the bucket that hold the registry's swept stores, each listed and emptied as one."""
    return (
        Store("objects", object_keys.tenant_prefix(tenant)),
        Store("key", object_keys.key_key(tenant)),
        Store("states", object_keys.state_key(tenant), keeps_current=True),
    )


@dataclass(frozen=True)
class Destruction:
    """What is done to one tenant's objects. Every method may be called again at any time."""

    tenancy: Tenancy

    async def found(self, tenant: str) -> tuple[StoreCount, ...]:
        """What a listing finds in each store that a purge empties, in constant memory. It believes nothing.

        ``objects`` counts keys that have a version; a key of delete markers alone is none. Sizes are those that the
        listing gives: of versions, not of the parts of open uploads.
        """
        counts: dict[str, Counter[str]] = {store.name: Counter(size_bytes=0) for store in swept()}
        names = _Names()
        for root in roots(tenant):
            last_key: str | None = None
            async for version in self.tenancy.objects.versions(root.prefix):
                if not root.is_doomed(version):
                    continue
                count = counts[names.of(version.key, is_current=not root.keeps_current)]
                if version.is_delete_marker:
                    count["delete_markers"] += 1
                    continue
                count["versions"] += 1
                count["size_bytes"] += version.size_bytes
                # A page of a listing gives versions by key, and its markers apart from them.
                count["objects"] += version.key != last_key
                last_key = version.key
            async for upload in self.tenancy.objects.uploads(root.prefix):
                counts[names.of(upload.key, is_current=not root.keeps_current)]["uploads"] += 1
        return tuple(StoreCount(store=name, **count) for name, count in counts.items())

    async def destroy_key(self, tenant: TenantId) -> Kept:
        """Remove every version of the wrapped data key."""
        try:
            await self.tenancy.keys.destroy(tenant)
        except DeletionRefused as refused:
            return {KEY_STORE: (min(refused.codes.values()), len(refused.codes))}
        return {}

    async def sweep(self, tenant: str) -> Kept:
        """Empty every root. One that keeps something back does not hold up the others."""
        kept: dict[str, tuple[str, int]] = {}
        names = _Names()
        for root in roots(tenant):
            try:
                await sweep(self.tenancy.objects, root)
            except DeletionRefused as refused:
                stores = {key: names.of(key, is_current=not root.keeps_current) for key in refused.codes}
                for store in sorted(set(stores.values())):
                    codes = [code for key, code in refused.codes.items() if stores[key] == store]
                    kept[store] = (min(codes), len(codes))
            except Refused as refused:
                # The listing or the whole request was refused: rights, most likely.
                kept[names.of(root.prefix + "x", is_current=not root.keeps_current)] = (refused.code, 1)
        return kept

    async def longest_lease(self, tenant: TenantId) -> float | None:
        """The length in seconds of the longest training lease that the tenant's runs have, or None without any.

        Its length and not its end: a renewal that read the state before the fence may still be on its way, and
        lengthens the lease by as much again. Leases are read as long as the key is there.
        """
        try:
            store = await self.tenancy.store(tenant)
        except KeyDestroyed:
            return None
        longest: float | None = None
        async for relative in store.list("runs"):
            if not relative.endswith("/lease.json"):
                continue
            try:
                lease, _ = await store.get_record(relative, LeaseRecord)
            except (ObjectNotFound, SealBroken):
                continue
            if lease.seconds is not None:
                longest = max(longest or 0.0, lease.seconds)
        return longest


def still_listed(counts: Iterable[StoreCount]) -> Kept:
    """What a listing right after a sweep that nobody refused still finds."""
    return {count.store: ("still-listed", count.total) for count in counts if count.total}


def with_refusals(record: PurgeRecord, kept: Kept, asked: Iterable[str], now: datetime) -> PurgeRecord:
    """The record with what the stores that were ``asked`` keep back now; what they let go of is closed, not dropped."""
    refusals = []
    known = set()
    for refusal in record.refusals:
        if refusal.until is None and refusal.store in asked:
            code, count = kept.get(refusal.store, (None, 0))
            if code == refusal.reason_code:
                refusals.append(refusal.model_copy(update={"count": count}))
                known.add(refusal.store)
            else:
                refusals.append(refusal.model_copy(update={"until": now}))
        else:
            refusals.append(refusal)
    for store in sorted(set(kept) - known):
        code, count = kept[store]
        refusals.append(StoreRefusal(store=store, reason_code=code, count=count, since=now))
    return record.model_copy(update={"refusals": tuple(refusals)})


def added(one: Iterable[StoreCount], other: Iterable[StoreCount]) -> tuple[StoreCount, ...]:
    """The sums by store; stores in which nothing was found are left out."""
    sums: dict[str, StoreCount] = {}
    for count in (*one, *other):
        if count.total:
            sums[count.store] = sums[count.store] + count if count.store in sums else count
    return tuple(sums.values())


class _Names:
    """The registry's name for an object, looked up once for each folder: a tenant can have very many objects."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def of(self, key: str, *, is_current: bool) -> str:
        parts = key.split("/")
        folder = (*parts[:3], str(len(parts) > 3))
        if folder not in self._known:
            try:
                self._known[folder] = store_of_key(key, is_current=is_current).name
            except UndeclaredStore:
                self._known[folder] = STRAYS
        return self._known[folder]
