"""A replica that runs for months: nothing that it keeps grows with the tenants, adapters and failures it has seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from inference.adapters import placement
from inference.adapters.adapter_files import FetchedAdapter, NotServable
from inference.adapters.placement import RETRY_AFTER_SECONDS, Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.errors import RequestRefused
from inference.tenants import binding
from inference.tenants.binding import TenantStateCache
from schemas.objects.state import PurgeState, TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.platform.recent_set import RecentSet
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT = TenantId("t1")
UNLOADED = 64


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


# --- a set of the latest


def test_only_the_latest_values_are_remembered() -> None:
    latest = RecentSet[int](3)
    for value in (1, 2, 3, 1, 4):
        latest.add(value)
    assert [value in latest for value in (1, 2, 3, 4)] == [True, False, True, True]
    assert len(latest) == 3


# --- states


def _tenancy() -> Tenancy:
    objects, master = MemoryObjectStore(), KeyFileMasterKey(bytes(32))
    return assemble(objects, master, RecordingPublisher(), "/sanolith/test", lambda: NOW)


async def _views(clock: Clock, tenants: int) -> TenantStateCache:
    tenancy = _tenancy()
    for number in range(tenants):
        await tenancy.states.create(TenantState(tenant=f"t{number}", nonce="n"))
    return TenantStateCache(tenancy, 1.0, clock)


async def test_states_that_are_too_old_to_be_used_are_not_kept() -> None:
    clock = Clock()
    views = await _views(clock, 50)
    for number in range(50):
        clock.now += 0.5
        await views.active(TenantId(f"t{number}"))
    assert len(views._held) == 3
    assert views._reading == {}


async def test_a_state_is_kept_as_long_as_it_may_be_used() -> None:
    clock = Clock()
    views = await _views(clock, 2)
    kept = await views.active(TenantId("t0"))
    clock.now = 1.0
    await views.active(TenantId("t1"))
    assert await views.active(TenantId("t0")) is kept


async def test_states_are_kept_up_to_a_number_however_long_they_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "VIEWS", 5)
    views = await _views(Clock(), 9)
    for number in range(9):
        await views.active(TenantId(f"t{number}"))
    assert list(views._held) == [f"t{number}" for number in range(4, 9)]


async def test_a_tenant_that_is_not_served_leaves_nothing() -> None:
    views = await _views(Clock(), 0)
    for number in range(9):
        with pytest.raises(RequestRefused, match="not served"):
            await views.active(TenantId(f"t{number}"))
    assert (views._held, views._reading) == ({}, {})


async def test_a_purged_tenant_stays_refused_when_later_purges_have_taken_its_place() -> None:
    """The state itself refuses it: the set is for what was read before the fence."""
    views = await _views(Clock(), 1)
    views._blocked = RecentSet(2)
    await views.active(TenantId("t0"))

    def fenced(state: TenantState) -> TenantState:
        return state.evolve(status="purging", purge=PurgeState(purge_id="p", fenced_at=NOW))

    await views.tenancy.states.swap(TenantId("t0"), fenced)
    views.block(TenantId("t0"))
    for number in range(1, 4):
        views.block(TenantId(f"t{number}"))
    assert "t0" not in views._blocked
    with pytest.raises(RequestRefused, match="not served"):
        await views.active(TenantId("t0"))


# --- adapters


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "UNLOADED", UNLOADED)


@dataclass
class Scrubbing(FakeEngine):
    """Counts the evictions that overwrite the free slots."""

    scrubs: int = 0

    async def evict(self, digest: str, *, scrub: bool) -> Any:
        self.scrubs += scrub
        return await super().evict(digest, scrub=scrub)


@dataclass
class Breaking(FakeFiles):
    """Files of adapters that are broken, and files that cannot be deleted."""

    is_broken: bool = False
    stuck: set[str] = field(default_factory=set)

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        if self.is_broken:
            raise NotServable("a file of the adapter is missing")
        return await super().fetch(tenant, digest)

    def remove(self, digest: str) -> bool:
        return digest not in self.stuck and super().remove(digest)


def _placement(clock: Clock) -> tuple[Placement, Scrubbing, Breaking]:
    engine, files = Scrubbing(), Breaking()
    residency = Residency(ResidencyPolicy(max_resident=4, idle_seconds=900.0), clock)
    return Placement(engine, files, residency, 0.0, clock), engine, files


def _digest(number: int) -> str:
    return f"{number:064x}"


async def _asked(held: Placement, numbers: Iterator[int] | range) -> None:
    for number in numbers:
        async with held.held(TENANT, _digest(number)):
            pass


async def test_adapters_that_left_are_forgotten_once_the_slots_are_overwritten() -> None:
    held, engine, _ = _placement(Clock())
    for start in range(0, 4 * UNLOADED, 16):
        await _asked(held, range(start, start + 16))
        await held.unload_idle()
        assert len(held._owners) <= UNLOADED + 16 + 4
    assert 1 <= engine.scrubs <= 4, "it drops everybody's cached blocks, and so is rare"
    assert set(engine.names) <= held._owners.keys(), "what is loaded is known"


async def test_a_purge_after_that_still_removes_what_is_loaded() -> None:
    held, engine, files = _placement(Clock())
    await _asked(held, range(UNLOADED + 8))
    await held.unload_idle()
    removal = await held.remove_tenant(TENANT)
    assert removal.is_complete
    assert len(removal.evicted) == 4
    assert (engine.names, held._owners, files.held) == ({}, {}, set())
    with pytest.raises(RequestRefused, match="not served"):
        await _asked(held, range(1))


async def test_a_few_adapters_that_left_cost_nobody_the_cached_blocks() -> None:
    held, engine, _ = _placement(Clock())
    await _asked(held, range(UNLOADED))
    await held.unload_idle()
    assert engine.scrubs == 0


async def test_an_adapter_whose_files_are_still_there_is_not_forgotten() -> None:
    held, _, files = _placement(Clock())
    files.stuck = {_digest(0)}
    await _asked(held, range(UNLOADED + 8))
    await held.unload_idle()
    assert _digest(0) in held._owners
    assert _digest(1) not in held._owners


async def test_failures_are_remembered_only_as_long_as_they_count() -> None:
    clock = Clock()
    held, _, files = _placement(clock)
    files.is_broken = True
    for number in range(100):
        with pytest.raises(RequestRefused, match="cannot be loaded"):
            await _asked(held, range(number, number + 1))
        clock.now += 1.0
    assert len(held._failed) == RETRY_AFTER_SECONDS
    with pytest.raises(RequestRefused, match="cannot be loaded"):
        await _asked(held, range(99, 100))
    files.is_broken = False
    await _asked(held, range(90, 91))
