"""A legal hold and a destruction meet at one swap: a hold that was accepted is never overrun, one that comes too late
is told so.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from producers.commands import legal_holds
from schemas.bus import events
from schemas.objects import object_keys
from tenancy.errors import Refused
from tenancy.state.legal_holds import TooLateToHold
from tests.invariants.stepping import Process, Scene, stepped
from tests.invariants.worlds import assert_purged
from tests.world.world import QUIESCE_SECONDS, World


async def test_a_hold_that_meets_a_purge_at_any_effect_either_keeps_everything_or_is_refused(tmp_path: Path) -> None:
    scene = await Scene.made(tmp_path)
    world, tenant = scene.world, scene.tenant
    alone = Process()
    await alone.start(scene.purge(stepped(world, alone)))
    await alone.go()
    outcomes = []
    for done in range(len(alone.effects) + 1):
        scene.again()
        purge, operator = Process(), Process()
        await purge.start(scene.purge(stepped(world, purge)))
        await purge.go(done)
        kept = sorted(key for key in world.memory.objects if key.startswith(object_keys.tenant_prefix(tenant)))
        placing = legal_holds.place(
            stepped(world, operator), tenant, reason_code="litigation", placed_by="op", hold_id="h1"
        )
        try:
            await operator.start(placing)
            # The purge goes on between the operator's read and its write.
            await purge.go(1)
            await operator.go()
        except TooLateToHold:
            accepted = False
        else:
            accepted = True
        await purge.go()
        outcomes.append(accepted)
        world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
        await world.driver.reconcile()
        if accepted:
            left = [key for key in world.memory.objects if key.startswith(object_keys.tenant_prefix(tenant))]
            assert sorted(left) == kept, f"held after {done} effects of the purge, and something was destroyed"
            assert await world.outside.store(tenant), "the key opens what is held"
            assert (await world.driver.records.read(tenant, "p1")).is_blocked_by_hold
            await legal_holds.release(world.outside, tenant, "h1", released_by="op")
        for _ in range(3):
            world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
            await world.driver.reconcile()
        await assert_purged(world, tenant)
    assert True in outcomes
    assert False in outcomes
    assert outcomes == sorted(outcomes, reverse=True), "there is one point of no return"


async def test_two_holds_are_released_one_by_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    for matter in ("h1", "h2"):
        await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id=matter)
    again = await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op-2", hold_id="h1")
    assert again.placed_by == "op", "again is no change"
    with pytest.raises(Refused, match="had another hold"):
        await legal_holds.place(world.outside, tenant, reason_code="audit", placed_by="op", hold_id="h1")
    with pytest.raises(Refused, match="no hold of this id"):
        await legal_holds.release(world.outside, tenant, "h3", released_by="op")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await world.settle()
    purge = (await world.state(tenant)).purge
    assert purge is not None
    assert [hold.hold_id for hold in (await world.driver.records.read(tenant, purge.purge_id)).open_holds] == ["h2"]
    with pytest.raises(Refused, match="had another hold"):
        await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await legal_holds.release(world.outside, tenant, "h2", released_by="op")
    await legal_holds.release(world.outside, tenant, "h2", released_by="op-2")
    await world.settle()
    record = await world.driver.records.read(tenant, purge.purge_id)
    assert [(hold.hold_id, hold.released_by) for hold in record.holds] == [("h1", "op"), ("h2", "op")]
    await assert_purged(world, tenant)


async def test_a_hold_stops_no_fence_and_no_eviction(tmp_path: Path) -> None:
    """The tenant is served no more and creates nothing more; only what there is stays."""
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    assert (await world.state(tenant)).status == "purging"
    evicted = [event for event in world.bus.topics[events.REPLICAS] if isinstance(event.data, events.ReplicaEvicted)]
    assert len(evicted) == 1
