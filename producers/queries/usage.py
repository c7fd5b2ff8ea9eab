"""Adds up what a tenant used."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.base.contract import Contract
from schemas.bus.events import UsageRecorded, UsageSource
from schemas.objects import object_keys
from schemas.objects.usage import UsageDay, UsageSum, amounts_of
from tenancy.bootstrap import Tenancy
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class UsageView(Contract):
    """What a tenant used, summed over its records of one source: the amounts that something measures.

    ``engine_seconds``: of the engine's time for inference, of the worker's time for training. ``bytes_written``: of
    published adapters; nothing is taken off it when one is erased.
    """

    source: UsageSource
    records: int
    prompt_tokens: int
    completion_tokens: int
    training_tokens: int
    engine_seconds: float
    bytes_written: int


async def usage(tenancy: Tenancy, tenant_id: TenantId) -> list[UsageView]:
    """Sums by source. Raises :class:`UnknownTenant`, and :class:`KeyDestroyed` after a purge."""
    await tenancy.states.read(tenant_id)
    store = await tenancy.store(tenant_id)

    async def sums_in(name: str) -> Mapping[UsageSource, UsageSum]:
        if name.startswith(object_keys.USAGE_DAYS):
            return (await store.get_record(name, UsageDay))[0].sums
        record, _ = await store.get_record(name, UsageRecorded)
        return {record.source: amounts_of(record)}

    names = [relative async for relative in store.list("usage")]
    total: dict[UsageSource, UsageSum] = {}
    for sums in await gathered(sums_in(name) for name in names):
        for source, amounts in sums.items():
            total[source] = total.get(source, UsageSum()).plus(amounts)
    return [
        UsageView(
            source=source,
            bytes_written=amounts.bytes_stored,
            **amounts.model_dump(exclude={"bytes_stored", "gpu_seconds"}),
        )
        for source, amounts in sorted(total.items())
    ]
