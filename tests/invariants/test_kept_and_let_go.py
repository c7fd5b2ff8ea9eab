"""What a store keeps back is open as long as it does, whoever lets go of it, and no purge waits for what is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.purge.driver import PurgeReconciler
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement
from tenancy.errors import Refused
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import Upload
from tenancy.tenant_id import TenantId
from tests.invariants.stepping import Process, stepped
from tests.invariants.worlds import assert_purged, learned
from tests.world.purging import LockingObjectStore, record_of
from tests.world.world import POLICY, PURGE, World


async def taught(world: World) -> TenantId:
    tenant = await world.onboard("t1", POLICY)
    await learned(world, tenant)
    return tenant


async def purged_until(world: World, tenant: TenantId, step: str) -> None:
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    for _ in range(40):
        if (await world.state(tenant)).purge is not None and (await record_of(world, tenant)).step == step:
            return
        await world.step()
    raise AssertionError(f"it does not come to {step}")


async def purging(world: World, step: str) -> TenantId:
    """A purge at this step."""
    tenant = await taught(world)
    await purged_until(world, tenant, step)
    return tenant


async def looked_at(world: World, times: int = 20) -> None:
    for _ in range(times):
        world.now += timedelta(seconds=30)
        await world.step()


@pytest.mark.parametrize("by", ["the purge", "somebody else"])
async def test_a_late_object_that_was_kept_for_a_while_is_let_go_by_whoever_removes_it(by: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await purging(world, "deleted")
    store = LockingObjectStore.instead_of(world.memory)
    late = object_keys.tenant_key(tenant, "staging/run/9/late")
    await store.put(late, b"sealed")
    store.locked.add(late)
    await looked_at(world, 4)
    record = await record_of(world, tenant)
    assert [(kept.store, kept.until) for kept in record.refusals] == [("objects.staging", None)]
    store.locked.clear()
    if by == "somebody else":
        del store.objects[late]
    await looked_at(world)
    await assert_purged(world, tenant)
    record = await record_of(world, tenant)
    assert [kept.until is not None for kept in record.refusals] == [True]
    assert [(count.store, count.versions) for count in record.late] == [("objects.staging", 1)]


async def test_what_is_written_behind_the_first_listing_is_late_and_no_fault_of_the_store(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await purging(world, "shredded")
    late = object_keys.tenant_key(tenant, "examples/late")
    uploads = world.memory.uploads
    written: list[str] = []

    async def behind(prefix: str) -> AsyncIterator[Upload]:
        if prefix == object_keys.tenant_prefix(tenant) and not written:  # its versions are listed and gone by now
            written.append(await world.memory.put(late, b"sealed"))
        async for upload in uploads(prefix):
            yield upload

    world.memory.uploads = behind  # type: ignore[method-assign]
    await looked_at(world)
    assert written
    await assert_purged(world, tenant)
    record = await record_of(world, tenant)
    assert record.refusals == ()
    assert [(count.store, count.versions) for count in record.late] == [("objects.examples", 1)]


async def test_a_slower_purge_service_notes_nothing_against_one_that_went_further(tmp_path: Path) -> None:
    """It lists what comes late, which the other then sweeps, and says that a store kept it."""
    world = World(tmp_path)
    tenant = await purging(world, "shredded")
    answered = ReplicaAcknowledgement(
        replica_id="replica-0", outcome="evicted", at=world.now, incarnation="i1", receipt_sha256="0" * 64
    )
    assert await world.driver.acknowledge(tenant, "p1", answered)
    slow = Process()
    late = object_keys.tenant_key(tenant, "examples/late")
    tenancy = stepped(world, slow)
    driver = PurgeReconciler(tenancy, world.keys, PURGE)
    destruction, left = type(driver.destruction), driver.destruction.left

    async def left_late(self: Any, owner: str) -> Any:
        await world.memory.put(late, b"sealed")
        found = await left(owner)
        await slow.about_to("goes on with what it listed")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(destruction, "left", left_late)
        await slow.start(driver.try_to_advance(tenant, "p1"))
        while "goes on with what it listed" not in slow.effects:
            assert not slow.has_ended
            await slow.go(1)
    await looked_at(world, 1)
    assert (await record_of(world, tenant)).step == "deleted"
    await slow.go()
    await looked_at(world)
    await assert_purged(world, tenant)
    assert (await record_of(world, tenant)).is_partial is False


class Unlisted(MemoryObjectStore):
    """Does not list what begins with ``denied``."""

    denied: tuple[str, ...]

    async def versions(self, prefix: str) -> AsyncIterator[Any]:
        if prefix in self.denied:
            raise Refused("object-store-refused", "refused: the object store answered 403 AccessDenied")
        async for version in super().versions(prefix):
            yield version


@pytest.mark.parametrize("step", ["fenced", "evicted", "deleted"])
async def test_a_place_that_cannot_be_listed_shows_at_every_step_and_is_let_go(step: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    world.memory.__class__ = Unlisted
    assert isinstance(world.memory, Unlisted)
    place = object_keys.key_key(tenant) if step == "fenced" else object_keys.tenant_prefix(tenant)
    world.memory.denied = (place,) if step == "fenced" else ()
    await purged_until(world, tenant, "shredded" if step == "evicted" else step)
    world.memory.denied = (place,)
    await looked_at(world)
    record = await record_of(world, tenant)
    assert (record.step, record.is_partial) == (step, True)
    assert {kept.count for kept in record.refusals} == {0}
    expected = "keys.tenant" if step == "fenced" else "objects.examples"
    assert expected in {kept.store for kept in record.refusals}
    world.memory.denied = ()
    await looked_at(world)
    await assert_purged(world, tenant)
