"""Empties the one store of a purge outside the bucket: the tenant's index in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.purge.counting import with_counts
from consumers.purge.sweep import Undeleted
from schemas.objects.purges import PurgeRecord, StoreCount
from tenancy.bootstrap import Tenancy
from tenancy.knowledge.database.connection import Database, DatabaseFailed
from tenancy.knowledge.database.settings import no_database
from tenancy.knowledge.database.tables import Tables, dropped, held, schemas
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.tenant_id import TenantId

STORE = "database.knowledge"
OUT_OF_REACH = "out-of-reach"


@dataclass(frozen=True)
class IndexDrop:
    """Drops a tenant's index. Every method may be called again at any time; each says what is kept back.

    A tenant whose policy keeps its index in a database that this process was not given cannot be purged by it.
    """

    tenancy: Tenancy
    database: Database | None

    async def left(self, tenant: TenantId) -> Undeleted:
        """Look whether the tenant's schema is still in the database."""
        if self.database is None:
            return await self._unknown(tenant)
        try:
            found = await held(self.database, tenant)
        except DatabaseFailed:
            return {STORE: (OUT_OF_REACH, 0)}
        return {} if found is None else {STORE: ("still-listed", found[0])}

    async def drop(self, record: PurgeRecord, records: PurgeRecords) -> Undeleted:
        """Count the index in the record, once in a sweep, and drop it."""
        tenant = TenantId(record.tenant)
        if self.database is None:
            return await self._unknown(tenant)
        try:
            found = await held(self.database, tenant)
            if found is not None:
                passages, size_bytes = found
                count = StoreCount(store=STORE, objects=passages, versions=passages, size_bytes=size_bytes)
                counted = with_counts(record.sweeps, STORE, "all", lambda _: (count,))
                await records.note(record.tenant, record.purge_id, counted)
                await dropped(self.database, tenant)
        except DatabaseFailed:
            return {STORE: (OUT_OF_REACH, 0)}
        return {}

    async def drop_unwanted(self, tenants: Sequence[TenantId]) -> None:
        """Drop what there is of tenants that were purged, as a restored backup brings it back, and of those whose
        policy keeps their index in memory. Raises :class:`DatabaseFailed`.
        """
        if self.database is None or not tenants:
            return
        there = await schemas(self.database)
        for tenant in (one for one in tenants if Tables(one).schema in there):
            state = (await self.tenancy.states.read(tenant)).state
            if state.status == "purged" or (state.status == "active" and state.policy.knowledge_index == "memory"):
                await dropped(self.database, tenant)

    async def _unknown(self, tenant: TenantId) -> Undeleted:
        policy = (await self.tenancy.states.read(tenant)).state.policy
        return {} if policy.knowledge_index == "memory" else {STORE: (no_database().code, 0)}
