"""Adds up what a tenant used."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.base.contract import Contract
from schemas.bus.events import UsageSource
from schemas.objects import object_keys
from schemas.objects.usage import KeptUsage, UsageDay, UsageSum, amounts_of
from tenancy.bootstrap import Tenancy
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class UsageView(Contract):
    """What a tenant used, summed over its records of one source.

    ``engine_seconds``: time in which its requests ran, or its training. ``gpu_seconds``: of the device's time, its
    share by tokens. ``queue_seconds``: what its requests waited. ``byte_days``: bytes by area times days.
    ``bytes_written``: of published adapters; nothing is taken off it when one is erased.
    """

    source: UsageSource
    records: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    training_tokens: int
    embedding_tokens: int
    retrievals: int
    engine_seconds: float
    gpu_seconds: float
    queue_seconds: float
    byte_days: dict[str, int]
    bytes_written: int


async def usage(tenancy: Tenancy, tenant_id: TenantId) -> list[UsageView]:
    """Sums by source. Raises :class:`UnknownTenant`, and :class:`KeyDestroyed` after a purge."""
    await tenancy.states.read(tenant_id)
    store = await tenancy.store(tenant_id)

    async def sums_in(name: str) -> Mapping[UsageSource, UsageSum]:
        if name.startswith(object_keys.USAGE_DAYS):
            return (await store.get_record(name, UsageDay))[0].sums
        kept, _ = await store.get_record(name, KeptUsage)
        return {kept.usage.source: amounts_of(kept.usage)}

    names = [relative async for relative in store.list("usage")]
    total: dict[UsageSource, UsageSum] = {}
    for sums in await gathered(sums_in(name) for name in names):
        for source, amounts in sums.items():
            total[source] = total.get(source, UsageSum()).plus(amounts)
    return [
        UsageView(
            source=source,
            bytes_written=amounts.bytes_stored,
            **amounts.model_dump(exclude={"bytes_stored"}),
        )
        for source, amounts in sorted(total.items())
    ]
