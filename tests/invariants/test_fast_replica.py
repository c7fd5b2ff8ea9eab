"""A replica that acknowledges before the purge's record says whom the fence found is not asked in vain, nor cut off."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_replica_evicted
from schemas.base.canonical import sha256_hex
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE
from tenancy.errors import Refused
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tests.invariants.worlds import assert_purged, learned, receipt, service
from tests.invariants.worlds import event as event_of
from tests.world.crashes import SimulatedCrash
from tests.world.purging import record_of
from tests.world.world import PURGE, World


@pytest.mark.parametrize("dies", [False, True], ids=["another pod takes it", "the pod dies and takes it up again"])
async def test_an_acknowledgement_between_the_fence_and_its_record_is_kept(dies: bool, tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("tenant-a")
    await learned(world, tenant)
    other_pod = PurgePorts(
        world.outside, world.keys.trust, PurgeReconciler(world.outside, world.keys, PURGE), lambda: None
    )
    publish, outcomes = world.bus.publish, []

    async def answered_at_once(event: Event) -> None:
        await publish(event)
        if event.type == events.PurgeFenced.type:
            world.bus.publish = publish  # type: ignore[method-assign]
            await world.handle(service(world, "inference"), event)
            answer = [one for one in world.bus.topics[events.REPLICAS] if one.type == events.ReplicaEvicted.type][-1]
            outcomes.append(await on_replica_evicted(answer, other_pod))
            if dies:
                raise SimulatedCrash

    world.bus.publish = answered_at_once  # type: ignore[method-assign]
    command = event_of(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"), world)
    if dies:
        with pytest.raises(SimulatedCrash):
            await world.handle(service(world, "purge"), command)
    await world.handle(service(world, "purge"), command)
    assert outcomes == [Outcome.EFFECT]
    record = await record_of(world, tenant)
    assert record.replicas == ("replica-0",)
    assert [(noted.replica_id, noted.outcome) for noted in record.acknowledgements] == [("replica-0", "evicted")]
    signed = record.receipts["replica-0"]
    assert sha256_hex(signed) == record.acknowledgements[0].receipt_sha256
    assert world.keys.trust.verify(signed, EVICTION_PREDICATE)
    for _ in range(6):
        world.now += timedelta(minutes=2)
        await world.server.keep_lease()
        await world.driver.reconcile()
    await assert_purged(world, tenant)
    assert not world.lease.is_fenced


@pytest.mark.parametrize(("seconds", "counts"), [(CLOCK_SKEW_SECONDS, True), (CLOCK_SKEW_SECONDS + 1, False)])
async def test_an_early_acknowledgement_counts_from_the_fence_that_the_state_has_and_keeps_its_own_time(
    seconds: float, counts: bool, tmp_path: Path
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("tenant-a")
    await learned(world, tenant)
    publish = world.bus.publish

    async def answered_at_once(event: Event) -> None:
        await publish(event)
        if isinstance(event.data, events.PurgeFenced):
            world.bus.publish = publish  # type: ignore[method-assign]
            evicted_at = event.data.fenced_at - timedelta(seconds=seconds)
            data = events.ReplicaEvicted(
                replica_id="replica-0", cause_id="p1", receipt=receipt(world, tenant, evicted_at=evicted_at)
            )
            answer = event_of(tenant, data, world)
            if counts:
                assert await world.handle(service(world, "purge"), answer) is Outcome.EFFECT
            else:
                with pytest.raises(Refused, match="signed it before"):
                    await world.handle(service(world, "purge"), answer)

    world.bus.publish = answered_at_once  # type: ignore[method-assign]
    command = event_of(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"), world)
    await world.handle(service(world, "purge"), command)
    record = await record_of(world, tenant)
    assert record.step != "requested" and record.fenced_at is not None
    kept = [record.fenced_at - timedelta(seconds=seconds)] if counts else []
    assert [noted.at for noted in record.acknowledgements] == kept
    await world.settle()
    await assert_purged(world, tenant)
