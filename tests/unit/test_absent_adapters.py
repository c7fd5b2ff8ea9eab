"""A digest that is no adapter of the tenant costs no more the second time, and says nothing about other tenants."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from inference.errors import RequestRefused
from inference.tenants.absent import ABSENT_DIGESTS, ABSENT_SECONDS, AbsentAdapters
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
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


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
    clock: Clock
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
    objects, master, clock = CountingStore(), CountingMaster(bytes(32)), Clock()
    tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/test", lambda: NOW)
    made = Bench(objects, master, tenancy, clock, TenantStateCache(tenancy, 3_600.0, clock))
    for tenant in (TENANT, OTHER):
        await tenancy.keys.create(tenant)
        await tenancy.states.create(TenantState(tenant=tenant, nonce="n"))
        await made.views.active(tenant)
    await made.archive(TENANT, OWN)
    await made.archive(OTHER, FOREIGN)
    return made


async def test_a_missing_adapter_costs_one_request_and_no_key_and_then_nothing_for_a_moment(bench: Bench) -> None:
    words, *cost = await bench.refused(MISSING)
    assert cost == [1, 0]
    bench.clock.now = ABSENT_SECONDS
    assert await bench.refused(MISSING) == (words, 0, 0)
    bench.clock.now += 0.1
    assert await bench.refused(MISSING) == (words, 1, 0)


async def test_a_foreign_adapter_sounds_like_a_missing_one_and_costs_the_same_each_time(bench: Bench) -> None:
    for _ in range(3):
        assert await bench.refused(FOREIGN) == await bench.refused(MISSING)
        bench.clock.now += 0.4


async def test_what_one_tenant_asked_for_in_vain_is_found_for_the_tenant_that_has_it(bench: Bench) -> None:
    await bench.refused(FOREIGN)
    assert await bench.views.adapter(OTHER, FOREIGN, bytes) == FOREIGN
    await bench.refused(OWN, OTHER)
    assert await bench.views.adapter(TENANT, OWN, bytes) == OWN


async def test_a_tenant_that_asks_for_anything_pushes_out_nobody_elses(bench: Bench) -> None:
    await bench.refused(MISSING, OTHER)
    for number in range(10 * ABSENT_DIGESTS):
        await bench.refused(f"{number:064x}")
    assert (await bench.refused(MISSING, OTHER))[1:] == (0, 0)
    assert len(bench.views._absent._noted[TENANT]) == ABSENT_DIGESTS


async def test_an_adapter_that_is_archived_now_is_found_a_moment_later_or_at_the_next_event(bench: Bench) -> None:
    await bench.refused(MISSING)
    await bench.archive(TENANT, MISSING)
    bench.clock.now = ABSENT_SECONDS + 0.1
    assert await bench.views.adapter(TENANT, MISSING, bytes) == MISSING
    later = "e" * 64
    await bench.refused(later)
    await bench.archive(TENANT, later)
    bench.views.forget(TENANT)
    assert await bench.views.adapter(TENANT, later, bytes) == later


async def test_nothing_is_remembered_of_a_tenant_that_is_blocked_while_its_adapter_is_looked_for(bench: Bench) -> None:
    await bench.refused(MISSING)
    asking = asyncio.create_task(bench.views.adapter(TENANT, "e" * 64, bytes))
    exists = CountingStore.exists

    async def blocking(self: CountingStore, key: str) -> bool:
        bench.views.block(TENANT)
        return await exists(self, key)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CountingStore, "exists", blocking)
        with pytest.raises(RequestRefused):
            await asking
    assert bench.views._absent._noted == {}


def test_tenants_that_asked_long_ago_are_not_kept() -> None:
    clock = Clock()
    absent = AbsentAdapters(clock)
    for number in range(1_000):
        clock.now += 0.3
        absent.note(TenantId(f"t{number}"), MISSING)
        absent.note(TenantId("busy"), MISSING)
    assert list(absent._noted) == ["t996", "t997", "t998", "t999", "busy"]
