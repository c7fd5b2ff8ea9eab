"""Takes the inventory of each tenant's storage, once a day: what it found is that day's usage.

Nothing else lists the bucket for it: `sano usage`, prices and budgets read the days' records. A listing costs one
request for each thousand versions. Whoever takes a day's inventory a second time reports it under the same number, so
it counts once.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from schemas.bus.events import StoredBytes, UsageRecorded
from schemas.objects import object_keys
from schemas.objects.usage import DATABASE_AREA, INVENTORY_REPORTER, Report, UsageDay, day_of
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, TenantFenced, UnknownTenant
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.database.tables import stored_bytes
from tenancy.platform.logs import SCOPE, trouble_logged
from tenancy.state.rounds import Rounds
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")
GONE = (TenantFenced, UnknownTenant, KeyDestroyed)

AUDIT_AREA = "audit"


@dataclass
class Inventory:
    """Looks at each tenant once an hour, by the shared round, and lists what no inventory of the day has listed yet."""

    tenancy: Tenancy
    database: Database | None = None

    async def take(self) -> None:
        for tenant in await Rounds(self.tenancy.states, "inventory", self.tenancy.clock).take():
            with suppress(*GONE), trouble_logged(logger, "tenant skipped by the inventory", but=GONE):
                await self.take_of(tenant)

    async def take_of(self, tenant: TenantId) -> None:
        """Report the tenant's storage of today, if nobody did."""
        await self.tenancy.active(tenant)
        now = self.tenancy.clock()
        day = day_of(now)
        if await self._is_taken(tenant, day):
            return
        data = UsageRecorded(
            usage_id=Report(day, INVENTORY_REPORTER, 1).usage_id,
            source="storage",
            stored=await self._stored(tenant),
        )
        await self.tenancy.outbox.publish(tenant, data, time=now)

    async def _is_taken(self, tenant: TenantId, day: str) -> bool:
        store = await self.tenancy.store(tenant)
        held, _ = await store.find_record(object_keys.usage_day(day), UsageDay)
        return held is not None and INVENTORY_REPORTER in held.counted

    async def _stored(self, tenant: TenantId) -> tuple[StoredBytes, ...]:
        """Superseded versions too: the store charges for them until a purge or an erasure removes them. Raises
        :class:`DatabaseUnavailable`: the day is then taken in a later round.
        """
        prefix = object_keys.tenant_prefix(tenant)
        found: dict[str, int] = {}
        async for version in self.tenancy.objects.versions(prefix):
            area = version.key.removeprefix(prefix).partition("/")[0]
            found[area] = found.get(area, 0) + version.size_bytes
        async for version in self.tenancy.objects.versions(object_keys.audit_prefix(tenant)):
            found[AUDIT_AREA] = found.get(AUDIT_AREA, 0) + version.size_bytes
        if self.database is not None and (size := await stored_bytes(self.database, tenant)):
            found[DATABASE_AREA] = size
        return tuple(StoredBytes(area=area, bytes=found[area]) for area in sorted(found))
