"""A tenant's storage is a day's usage, by area, and is listed once a day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from consumers.ledger.inventory import Inventory
from producers.queries import usage
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import PurgeState, TenantState
from tenancy.storage.objects import ObjectVersion
from tenancy.tenant_id import TenantId
from tests.unit.test_usage_days import NOON, TENANT, Ledger, Store


class Listed(Store):
    listings = 0

    def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        self.listings += prefix.startswith(object_keys.TENANTS_PREFIX)
        return super().versions(prefix)


@pytest.fixture
async def ledger() -> Ledger:
    return await Ledger(Listed()).start()


async def _put(ledger: Ledger, key: str, size: int) -> None:
    await ledger.objects.put(key, b"x" * size)


async def _views(ledger: Ledger) -> dict[str, dict[str, int]]:
    return {view.source: view.byte_days for view in await usage.usage(ledger.tenancy, TENANT)}


async def test_all_versions_of_each_area_count_and_so_does_the_audit_log(ledger: Ledger) -> None:
    for size in (100, 20):
        await _put(ledger, object_keys.tenant_key(TENANT, "adapters/d/adapter_model.safetensors"), size)
    await _put(ledger, object_keys.tenant_key(TENANT, "contents/e1/1"), 7)
    await _put(ledger, object_keys.audit_entry(TENANT, 1), 3)
    await _put(ledger, object_keys.tenant_key("t10", "contents/e1/1"), 1000)
    await Inventory(ledger.tenancy).take_of(TENANT)
    [event] = ledger.publisher.events
    assert await ledger.handle(event) is Outcome.EFFECT
    assert await _views(ledger) == {"storage": {"adapters": 120, "audit": 3, "contents": 7}}


async def test_the_bucket_is_listed_once_a_day_and_a_second_inventory_of_a_day_counts_nothing(ledger: Ledger) -> None:
    assert isinstance(ledger.objects, Listed)
    await _put(ledger, object_keys.tenant_key(TENANT, "contents/e1/1"), 10)
    inventory = Inventory(ledger.tenancy)
    await inventory.take_of(TENANT)
    await _put(ledger, object_keys.tenant_key(TENANT, "contents/e2/1"), 10)
    await inventory.take_of(TENANT)  # another process, before the ledger has handled the first
    outcomes = [await ledger.handle(event) for event in ledger.publisher.events]
    assert outcomes == [Outcome.EFFECT, Outcome.NOOP_DUPLICATE]
    for hour in range(1, 12):
        ledger.now = NOON + timedelta(hours=hour)
        await inventory.take_of(TENANT)
    await usage.usage(ledger.tenancy, TENANT)
    assert (ledger.objects.listings, len(ledger.publisher.events)) == (2, 2)
    ledger.now = NOON + timedelta(days=1)
    await inventory.take_of(TENANT)
    await ledger.handle(ledger.publisher.events[-1])
    views = await _views(ledger)
    assert views["storage"]["contents"] == 10 + 20, "bytes times days"


async def test_a_round_reports_each_active_tenant_and_goes_on_past_others(ledger: Ledger) -> None:
    def fenced(state: TenantState) -> TenantState:
        return state.evolve(status="purging", purge=PurgeState(purge_id="p", fenced_at=NOON))

    await ledger.tenancy.states.create(TenantState(tenant="t0", nonce="n"))
    await ledger.tenancy.states.swap(TenantId("t0"), fenced)
    await Inventory(ledger.tenancy).take()
    assert [event.subject for event in ledger.publisher.events] == [TENANT]
