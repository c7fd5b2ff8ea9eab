"""A digest that is no adapter of the tenant costs one request, and says nothing about other tenants."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from inference.errors import RequestRefused
from inference.tenants.binding import TenantStateCache
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT, OTHER = TenantId("t1"), TenantId("t10")
OWN, FOREIGN, MISSING = "a" * 64, "b" * 64, "f" * 64


@dataclass
class CountingStore(MemoryObjectStore):
    """Notes which requests came."""

    asked: list[str] = field(default_factory=list)

    async def get(self, key: str) -> StoredObject:
        self.asked.append(f"get {key}")
        return await super().get(key)

    async def exists(self, key: str) -> bool:
        self.asked.append(f"exists {key}")
        return await super().exists(key)


@dataclass(frozen=True)
class CountingMaster(KeyFileMasterKey):
    """Notes how often it was asked."""

    asked: list[str] = field(default_factory=list)

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        self.asked.append(tenant)
        return super().unwrap(tenant, wrapped)


@dataclass
class Bench:
    """Two tenants with one archived adapter each, and a replica's view of them."""

    objects: CountingStore
    master: CountingMaster
    tenancy: Tenancy
    views: TenantStateCache

    async def archive(self, tenant: TenantId, digest: str) -> None:
        record = AdapterState(
            status="ready",
            run_id="r",
            fence=1,
            training_set_id="c" * 64,
            base_model_digest="d" * 64,
            size_bytes=1,
            published_at=NOW,
        )
        await (await self.tenancy.store(tenant)).put_record(object_keys.adapter_record(digest), record)

    async def refused(self, digest: str, tenant: TenantId = TENANT) -> tuple[object, ...]:
        """How the refusal sounds and what it cost."""
        self.objects.asked.clear()
        self.master.asked.clear()
        with pytest.raises(RequestRefused) as refusal:
            await self.views.adapter(tenant, digest, bytes)
        words = refusal.value.status, refusal.value.code, str(refusal.value)
        return words, len(self.objects.asked), len(self.master.asked)


@pytest.fixture
async def bench() -> Bench:
    objects, master = CountingStore(), CountingMaster(bytes(32))
    tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/test", lambda: NOW)
    made = Bench(objects, master, tenancy, TenantStateCache(tenancy, 3_600.0))
    for tenant in (TENANT, OTHER):
        await tenancy.keys.create(tenant)
        await tenancy.states.create(TenantState(tenant=tenant, nonce="n"))
        await made.views.active(tenant)
    await made.archive(TENANT, OWN)
    await made.archive(OTHER, FOREIGN)
    return made


async def test_a_missing_adapter_costs_one_request_and_no_key(bench: Bench) -> None:
    _, *cost = await bench.refused(MISSING)
    assert cost == [1, 0]


async def test_a_foreign_adapter_sounds_like_a_missing_one_and_costs_the_same(bench: Bench) -> None:
    assert await bench.refused(FOREIGN) == await bench.refused(MISSING)


async def test_what_one_tenant_asked_for_in_vain_is_found_for_the_tenant_that_has_it(bench: Bench) -> None:
    await bench.refused(FOREIGN)
    assert await bench.views.adapter(OTHER, FOREIGN, bytes) == FOREIGN
    await bench.refused(OWN, OTHER)
    assert await bench.views.adapter(TENANT, OWN, bytes) == OWN


async def test_an_adapter_that_is_archived_now_is_found_at_once(bench: Bench) -> None:
    await bench.refused(MISSING)
    await bench.archive(TENANT, MISSING)
    assert await bench.views.adapter(TENANT, MISSING, bytes) == MISSING
