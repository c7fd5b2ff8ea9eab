"""Markers of open work and the round over all tenants: one suite for the memory store and S3."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.state.open_work import Marked, OpenWork, announce
from tenancy.state.registry import StateRegistry
from tenancy.state.rounds import ROUND, Rounds
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tenancy.tenant_id import TenantId
from tests.contract.conftest import SteppedClock

ONE, TEN = TenantId("t1"), TenantId("t10")
QUIESCE_SECONDS = 65.0


@pytest.fixture
def work(objects: ObjectStore, clock: SteppedClock) -> OpenWork:
    return OpenWork(objects, "training", QUIESCE_SECONDS, lambda: clock.now.timestamp())


async def marked(work: OpenWork) -> dict[TenantId, Marked]:
    return {one.tenant: one for one in await work.marked()}


async def versions(objects: ObjectStore) -> list[ObjectVersion]:
    return [version async for version in objects.versions(object_keys.WORK_PREFIX)]


async def test_a_look_finds_the_tenants_that_work_was_announced_for(objects: ObjectStore, work: OpenWork) -> None:
    assert await marked(work) == {}
    for tenant in (TEN, ONE, ONE):
        await announce(objects, "training", tenant)
    assert set(await marked(work)) == {ONE, TEN}


async def test_a_marker_goes_with_every_version_once_nothing_is_left_and_no_writer_can_be_behind_it(
    objects: ObjectStore, work: OpenWork, clock: SteppedClock
) -> None:
    for tenant in (ONE, ONE, TEN):
        await announce(objects, "training", tenant)
    await work.tidy((await marked(work))[ONE], "nothing")
    assert set(await marked(work)) == {ONE, TEN}, "who announced it may not have written yet"
    clock.step(QUIESCE_SECONDS)
    await work.tidy((await marked(work))[ONE], "nothing")
    assert [version.key for version in await versions(objects)] == [object_keys.open_work("training", TEN)]


async def test_what_is_announced_after_a_look_has_begun_outlives_it(
    objects: ObjectStore, work: OpenWork, clock: SteppedClock
) -> None:
    await announce(objects, "training", ONE)
    await marked(work)
    clock.step(QUIESCE_SECONDS)
    seen = (await marked(work))[ONE]
    await announce(objects, "training", ONE)  # the same bytes, so the same ETag
    await work.tidy(seen, "nothing")
    again = (await marked(work))[ONE]
    assert again.is_fresh, "its own time begins when it is seen"
    await work.tidy(again, "nothing")
    assert set(await marked(work)) == {ONE}


async def test_two_processes_that_look_at_once_remove_only_what_each_has_listed(
    objects: ObjectStore, work: OpenWork, clock: SteppedClock
) -> None:
    other = OpenWork(objects, "training", QUIESCE_SECONDS, work.now)
    await announce(objects, "training", ONE)
    await marked(work), await marked(other)
    clock.step(QUIESCE_SECONDS)
    mine, theirs = (await marked(work))[ONE], (await marked(other))[ONE]
    await work.tidy(mine, "nothing")
    await announce(objects, "training", ONE)
    await other.tidy(theirs, "nothing")
    assert set(await marked(work)) == {ONE}


async def test_versions_do_not_pile_up_while_something_is_left(objects: ObjectStore, work: OpenWork) -> None:
    for _ in range(3):
        await announce(objects, "training", ONE)
    await work.tidy((await marked(work))[ONE], "something")
    assert len(await versions(objects)) == 1


async def test_a_fenced_tenants_marker_goes_at_once(objects: ObjectStore, work: OpenWork) -> None:
    await announce(objects, "training", ONE)
    await work.tidy((await marked(work))[ONE], "fenced")
    assert await versions(objects) == []


async def test_what_lies_among_the_markers_and_is_none_hides_no_tenant(objects: ObjectStore, work: OpenWork) -> None:
    await objects.put(f"{object_keys.open_work_prefix('training')}No tenant/open", b"")
    await announce(objects, "training", ONE)
    assert set(await marked(work)) == {ONE}


async def test_a_listing_begins_behind_the_key_that_is_named(objects: ObjectStore) -> None:
    for key in ("rounds/a", "rounds/b", "rounds/c"):
        await objects.put(key, b"")
    assert [key async for key in objects.keys("rounds/", after="rounds/a")] == ["rounds/b", "rounds/c"]


@pytest.fixture
async def states(objects: ObjectStore, clock: SteppedClock) -> StateRegistry:
    registry = StateRegistry(objects, clock)
    for number in range(5):
        await registry.create(TenantState(tenant=f"t{number}", nonce="n"))
    return registry


async def test_processes_share_one_round_in_which_each_tenant_comes_once(
    states: StateRegistry, clock: SteppedClock
) -> None:
    one, other = (Rounds(states, "training", clock, taken=2) for _ in range(2))
    taken = [await rounds.take() for rounds in (one, other, one, other)]
    assert taken == [["t0", "t1"], ["t2", "t3"], ["t4"], []]


async def test_a_round_begins_an_hour_after_the_one_before_began(states: StateRegistry, clock: SteppedClock) -> None:
    rounds = Rounds(states, "training", clock, taken=3)
    assert len(await rounds.take()) == 3
    clock.step(ROUND.total_seconds() / 2)
    assert await rounds.take() == ["t3", "t4"]
    clock.step(ROUND.total_seconds() / 2 - 1)
    assert await rounds.take() == []
    clock.step(1)
    assert await rounds.take() == ["t0", "t1", "t2"]


async def test_of_two_that_take_the_same_tenants_at_once_one_has_them(
    states: StateRegistry, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = Rounds(states, "training", clock), Rounds(states, "training", clock)
    listed = StateRegistry.tenants
    begun: list[str] = []
    taken: list[TenantId] = []

    async def overtaken(self: StateRegistry, *, after: str = "") -> AsyncIterator[TenantId]:
        if not begun:
            begun.append("by theirs too")
            taken.extend(await theirs.take())
        async for tenant in listed(self, after=after):
            yield tenant

    monkeypatch.setattr(StateRegistry, "tenants", overtaken)
    assert await mine.take() == []
    assert len(taken) == 5
