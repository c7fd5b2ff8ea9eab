"""Shows how the answers of each of a tenant's adapters were rated: counts, as its days of usage keep them."""

from __future__ import annotations

from datetime import datetime, timedelta

from producers.queries.adapters import AdapterView, adapters
from schemas.bus.events import AnswersRated
from schemas.objects import object_keys
from schemas.objects.usage import UsageDay, day_of, with_ratings
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed
from tenancy.platform.concurrency import gathered
from tenancy.state.archive import Archive
from tenancy.tenant_id import TenantId

CLOCKS = timedelta(days=2)
"""Whole days that are read of before an adapter's publication: replicas that count have clocks of their own."""


class RatedAdapter(AdapterView):
    """A published adapter, and how many of its answers were rated good and bad: each once, by its first rating."""

    rated_up: int
    rated_down: int


async def ratings(tenancy: Tenancy, tenant: TenantId, since: datetime) -> dict[str, AnswersRated]:
    """By the adapter's digest; none of one that nobody rated, and none after a purge. ``since``: before it none of the
    adapters that are looked for was published.
    """
    try:
        store = await tenancy.store(tenant)
    except KeyDestroyed:
        return {}
    before = object_keys.usage_day(day_of(since - CLOCKS))
    names = [relative async for relative in store.list("usage", "days", after=before)]
    days = await gathered(store.get_record(name, UsageDay) for name in names)
    total: dict[str, AnswersRated] = {}
    for day, _ in days:
        total = with_ratings(total, day.ratings.values())
    return total


async def ratings_of(tenancy: Tenancy, tenant: TenantId, digest: str) -> AnswersRated:
    """Of one adapter. Raises :class:`UnknownTenant`, and :class:`KeyDestroyed` after a purge."""
    state = (await tenancy.states.read(tenant)).state
    adapter = await Archive(await tenancy.store(tenant)).known_adapter(state, digest)
    counted = {} if adapter is None else await ratings(tenancy, tenant, adapter.published_at)
    return counted.get(digest, AnswersRated(adapter_digest=digest))


async def rated_adapters(tenancy: Tenancy, tenant: TenantId) -> list[RatedAdapter]:
    """The tenant's published adapters, oldest first. Raises :class:`UnknownTenant`."""
    views = await adapters(tenancy, tenant)
    counted = await ratings(tenancy, tenant, min(view.published_at for view in views)) if views else {}
    return [
        RatedAdapter(**view.model_dump(), rated_up=rated.up, rated_down=rated.down)
        for view in views
        for rated in [counted.get(view.digest, AnswersRated(adapter_digest=view.digest))]
    ]
