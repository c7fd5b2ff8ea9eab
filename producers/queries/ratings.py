"""Shows how the answers of each of a tenant's adapters were rated: counts, as its days of usage keep them."""

from __future__ import annotations

from producers.queries.adapters import AdapterView, adapters
from schemas.bus.events import AnswersRated
from schemas.objects.usage import UsageDay, with_ratings
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class RatedAdapter(AdapterView):
    """A published adapter, and how many of its answers were rated good and bad: each once, by its first rating."""

    rated_up: int
    rated_down: int


async def ratings(tenancy: Tenancy, tenant: TenantId) -> dict[str, AnswersRated]:
    """By the adapter's digest; none of one that nobody rated, and none after a purge."""
    try:
        store = await tenancy.store(tenant)
    except KeyDestroyed:
        return {}
    names = [relative async for relative in store.list("usage", "days")]
    days = await gathered(store.get_record(name, UsageDay) for name in names)
    total: dict[str, AnswersRated] = {}
    for day, _ in days:
        total = with_ratings(total, day.ratings.values())
    return total


async def rated_adapters(tenancy: Tenancy, tenant: TenantId) -> list[RatedAdapter]:
    """The tenant's published adapters, oldest first. Raises :class:`UnknownTenant`."""
    views, counted = await adapters(tenancy, tenant), await ratings(tenancy, tenant)
    return [
        RatedAdapter(**view.model_dump(), rated_up=rated.up, rated_down=rated.down)
        for view in views
        for rated in [counted.get(view.digest, AnswersRated(adapter_digest=view.digest))]
    ]
