"""Compare-and-swap on a tenant's state, on every object store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.objects import object_keys
from schemas.objects.state import OutboxEntry, TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import ContendedState, PreconditionFailed, TenantFenced, UnknownTenant
from tenancy.state.registry import StateRegistry, entry_data, require_active
from tenancy.storage import cas_record
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.contract.conftest import START, TENANT, Notes
from tests.world.effects import ObservedObjectStore

FIRST = TenantState(tenant=TENANT, nonce="n0")


def raised_fence(state: TenantState) -> TenantState:
    return state.evolve(fence=state.fence + 1)


def purged(state: TenantState) -> TenantState:
    return state.evolve(status="purged")


@pytest.fixture
def states(objects: ObjectStore) -> StateRegistry:
    return StateRegistry(objects)


@dataclass
class Meddled:
    """A store whose conditional writes go another way: ``meddle`` decides what happens to each."""

    inner: Any
    meddle: Callable[[Meddled, str, bytes, str], Any]
    writes: int = 0
    bodies: list[bytes] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if if_match is None:
            return str(await self.inner.put(key, body, if_absent=if_absent))
        self.writes += 1
        self.bodies.append(body)
        return str(await self.meddle(self, key, body, if_match))


async def test_a_tenant_that_was_never_onboarded_is_unknown(states: StateRegistry) -> None:
    with pytest.raises(UnknownTenant):
        await states.read(TENANT)
    with pytest.raises(UnknownTenant):
        await states.swap(TENANT, raised_fence)
    assert [tenant async for tenant in states.tenants()] == []


async def test_a_state_is_created_once_and_read_back(states: StateRegistry) -> None:
    created = await states.create(FIRST)
    assert created.state == FIRST
    assert await states.read(TENANT) == created
    again = await states.create(FIRST.evolve(policy=TenantPolicy(deletion_sla_days=60)))
    assert again == created, "a second onboarding changes nothing"


async def test_every_swap_changes_rev_and_nonce(states: StateRegistry) -> None:
    snapshots = [await states.create(FIRST), *[await states.swap(TENANT, raised_fence) for _ in range(3)]]
    assert [snapshot.state.rev for snapshot in snapshots] == [1, 2, 3, 4]
    assert len({snapshot.state.nonce for snapshot in snapshots}) == 4
    assert len({snapshot.etag for snapshot in snapshots}) == 4
    assert await states.read(TENANT) == snapshots[-1]


async def test_a_change_that_changes_nothing_writes_nothing(objects: ObjectStore) -> None:
    notes = Notes()
    states = StateRegistry(ObservedObjectStore(objects, notes))
    created = await states.create(FIRST)
    assert await states.swap(TENANT, lambda state: state) == created
    assert notes.seen == [("before", "swap:state"), ("after", "swap:state")]


async def test_a_state_that_went_from_a_to_b_to_a_is_not_the_one_that_was_read(states: StateRegistry) -> None:
    """Rev and nonce defeat what a content-derived ETag allows: the late swap sees the present state, not its own."""
    stale = await states.create(FIRST)
    await states.swap(TENANT, lambda state: state.evolve(active_adapter="a" * 64))
    back = await states.swap(TENANT, lambda state: state.evolve(active_adapter=None))
    assert back.etag != stale.etag
    seen: list[int] = []

    def late(state: TenantState) -> TenantState:
        seen.append(state.rev)
        return raised_fence(state)

    assert (await states.swap(TENANT, late, base=stale)).state.rev == 4
    assert seen == [1, 3]


async def test_twenty_concurrent_swaps_all_survive(states: StateRegistry) -> None:
    await states.create(FIRST)
    snapshots = await asyncio.gather(*[states.swap(TENANT, raised_fence) for _ in range(20)])
    final = (await states.read(TENANT)).state
    assert (final.fence, final.rev) == (20, 21)
    assert sorted(snapshot.state.fence for snapshot in snapshots) == list(range(1, 21)), "no number is given twice"


async def test_a_write_whose_answer_was_lost_counts_once(objects: ObjectStore) -> None:
    """The client tried again by itself and met its own first write: 412, and yet it had won."""

    async def lose_the_answer(store: Meddled, key: str, body: bytes, etag: str) -> str:
        await store.inner.put(key, body, if_match=etag)
        raise PreconditionFailed(key)

    store = Meddled(objects, lose_the_answer)
    states = StateRegistry(store)
    await states.create(FIRST)
    swapped = await states.swap(TENANT, raised_fence)
    assert (swapped.state.fence, swapped.state.rev) == (1, 2)
    assert store.writes == 1
    assert await StateRegistry(objects).read(TENANT) == swapped


async def test_a_lost_race_is_run_again_on_what_is_there(objects: ObjectStore) -> None:
    async def lose_the_first(store: Meddled, key: str, body: bytes, etag: str) -> str:
        if store.writes == 1:
            await StateRegistry(store.inner).swap(TENANT, raised_fence)
        return str(await store.inner.put(key, body, if_match=etag))

    states = StateRegistry(Meddled(objects, lose_the_first))
    await states.create(FIRST)
    assert (await states.swap(TENANT, raised_fence)).state.fence == 2


async def test_a_change_that_refuses_on_the_present_state_writes_nothing(states: StateRegistry) -> None:
    base = await states.create(FIRST)
    await states.swap(TENANT, purged)

    def only_if_active(state: TenantState) -> TenantState:
        return raised_fence(require_active(state))

    with pytest.raises(TenantFenced):
        await states.swap(TENANT, only_if_active, base=base)
    assert (await states.read(TENANT)).state.fence == 0


async def test_a_race_that_is_always_lost_ends_and_may_be_tried_later(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cas_record, "ATTEMPTS", 4)

    async def always_lost(_: Meddled, key: str, __: bytes, ___: str) -> str:
        raise PreconditionFailed(key)

    store = Meddled(objects, always_lost)
    states = StateRegistry(store)
    await states.create(FIRST)
    with pytest.raises(ContendedState):
        await states.swap(TENANT, raised_fence)
    assert store.writes == 4
    assert len({TenantState.model_validate_json(body).nonce for body in store.bodies}) == 4


# --- fenced for ever


@pytest.mark.parametrize("status", ["purging", "purged"])
async def test_a_purged_tenant_cannot_be_created_again(states: StateRegistry, status: str) -> None:
    await states.create(FIRST)
    fenced = await states.swap(TENANT, lambda state: state.evolve(status=status))
    assert await states.create(FIRST) == fenced
    assert (await states.read(TENANT)).state.status == status
    with pytest.raises(TenantFenced):
        require_active((await states.create(FIRST)).state)


@pytest.mark.parametrize("status", ["purging", "purged"])
async def test_nothing_may_be_done_for_a_fenced_tenant(tenancy: Tenancy, status: str) -> None:
    await tenancy.states.create(FIRST)
    assert (await tenancy.active(TENANT)).state == FIRST
    await tenancy.states.swap(TENANT, lambda state: state.evolve(status=status))
    with pytest.raises(TenantFenced):
        await tenancy.active(TENANT)


async def test_every_tenant_is_listed_the_purged_ones_too(states: StateRegistry, objects: ObjectStore) -> None:
    for name in ("t1", "t10", "t2"):
        await states.create(TenantState(tenant=name, nonce="n"))
        await objects.put(object_keys.key_key(name), b"{}")
    await states.swap(TenantId("t10"), purged)
    assert [tenant async for tenant in states.tenants()] == ["t1", "t10", "t2"]


# --- what another release wrote


async def test_a_state_that_a_newer_release_wrote_is_read(states: StateRegistry, objects: ObjectStore) -> None:
    body = FIRST.model_dump_json().removesuffix("}") + ', "later": {"x": 1}}'
    await objects.put(object_keys.state_key(TENANT), body.encode())
    assert (await states.read(TENANT)).state == FIRST


def test_an_outbox_entry_that_a_newer_release_wrote_is_published_as_far_as_it_is_known() -> None:
    data = {"run_id": "run-1", "reason_code": "too-few-examples", "hint": "later field"}
    entry = OutboxEntry(event_type="sano.training.rejected", data=data, time=START)
    assert entry_data(entry).model_dump() == {"run_id": "run-1", "reason_code": "too-few-examples"}
