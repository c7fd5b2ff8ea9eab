"""Counts, empties and lists a tenant's stores. Reports what a store refuses to delete instead of raising."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consumers.purge.counting import Counts, SweepCount, listed
from consumers.purge.database import IndexDrop
from consumers.purge.roots import key_root, roots
from consumers.purge.sweep import Undeleted, sweep
from schemas.objects.purges import PurgeRecord, StoreRefusal
from schemas.objects.training import LeaseRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import DeletionRefused, KeyDestroyed, ObjectNotFound, Refused, SealBroken
from tenancy.knowledge.database.connection import Database
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.tenant_id import TenantId

KEY_STORE = "keys.tenant"
LEASES_STORE = "objects.runs"


@dataclass(frozen=True)
class Destruction:
    """Counts, empties and lists the stores of one tenant: its objects, and its index in the database. Every method may
    be called again at any time.
    """

    tenancy: Tenancy
    database: Database | None = None

    @property
    def index(self) -> IndexDrop:
        return IndexDrop(self.tenancy, self.database)

    async def left(self, tenant: str) -> Undeleted:
        """What a listing still finds in the stores that a purge empties, in constant memory. It believes nothing."""
        left = dict(await self.index.left(TenantId(tenant)))
        for root in roots(tenant):
            try:
                counts = await listed(self.tenancy.objects, root)
            except Refused as refused:
                left |= dict.fromkeys(root.stores(), (refused.code, 0))
            else:
                left |= {count.store: ("still-listed", count.total) for count in counts}
        return left

    async def key_found(self, tenant: str) -> tuple[Counts, Mapping[str, str]]:
        """What there is of the tenant's key, and up to where :class:`SweepCount` is to take it as counted."""
        root = key_root(tenant)
        return await listed(self.tenancy.objects, root), {root.name: root.prefix}

    async def destroy_key(self, tenant: TenantId) -> Undeleted:
        """Remove every version of the wrapped data key."""
        try:
            await self.tenancy.keys.destroy(tenant)
        except DeletionRefused as refused:
            return {KEY_STORE: (min(code for _, code in refused.kept), len(refused.kept))}
        except Refused as refused:
            return {KEY_STORE: (refused.code, 0)}
        return {}

    async def sweep(self, record: PurgeRecord, records: PurgeRecords) -> Undeleted:
        """Empty every root, and count what goes. One that keeps something back does not hold up the others."""
        if record.sweeps is None:
            raise ValueError("nothing is removed before what must be found out first is noted")
        kept = dict(await self.index.drop(record, records))
        for root in roots(record.tenant):
            count = SweepCount(self.tenancy.objects, records, record.tenant, record.purge_id, root, record.sweeps)
            kept |= await sweep(self.tenancy.objects, root, count)
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
            longest = max(longest or 0.0, lease.seconds)
        return longest


def with_refusals(record: PurgeRecord, kept: Undeleted, asked: Iterable[str], now: datetime) -> PurgeRecord:
    """The record with what the stores that were ``asked`` keep back now; what they let go of is closed, not dropped."""
    refusals = []
    known = set()
    for refusal in record.refusals:
        if refusal.until is None and refusal.store in asked:
            code, count = kept.get(refusal.store, (None, 0))
            if code == refusal.reason_code:
                refusals.append(refusal.evolve(count=count))
                known.add(refusal.store)
            else:
                # Clocks differ: an end that reads as earlier than its beginning would contradict itself.
                refusals.append(refusal.evolve(until=max(now, refusal.since)))
        else:
            refusals.append(refusal)
    for store in sorted(set(kept) - known):
        code, count = kept[store]
        refusals.append(StoreRefusal(store=store, reason_code=code, count=count, since=now))
    return record.evolve(refusals=tuple(refusals))
