"""The deletion SLA over sixty days, with everything in the way that can be: nobody sleeps here, time is a number."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.purge.watchdog import OPEN_STEPS, Watchdog
from producers.commands import legal_holds
from schemas.bus import events
from schemas.tenant.policy import TenantPolicy
from tenancy.state.legal_holds import TooLateToHold
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import assert_purged, learned
from tests.world.purging import LockingObjectStore, Metrics, MuteReplica, key_of, live, record_of, warnings
from tests.world.world import POLICY, START, World

DAY = 24


async def churned(world: World, tenant: TenantId) -> None:
    await world.publish(tenant, events.TenantChurned(requested_by="op"))


async def test_sixty_days_with_a_hold_a_mute_replica_and_a_store_that_keeps_things(tmp_path: Path) -> None:
    world = World(tmp_path)
    locking = LockingObjectStore.instead_of(world.memory)
    tenants = [await world.onboard(f"t-{name}", POLICY) for name in ("plain", "held", "kept", "served")]
    plain, held, kept, served = tenants
    for tenant in tenants:
        await learned(world, tenant, text=tenant)
    await legal_holds.place(world.outside, held, reason_code="litigation", placed_by="op", hold_id="h1")
    locking.locked = {key_of(world, kept, "consents")}
    mute = MuteReplica(world, "replica-mute")
    assert await mute.renew()
    begun = world.now
    for tenant in (plain, held, kept):
        await churned(world, tenant)
    await live(world, 1, mute)
    assert [(await record_of(world, tenant)).step for tenant in (plain, held, kept)] == [
        "shredded",
        "fenced",
        "shredded",
    ]
    assert world.watchdog.overview.flags == {
        "blocked_by_hold": 1,
        "partial": 0,
        "uncertifiable": 0,
        "overdue": 0,
        "past_target": 0,
    }
    await live(world, DAY - 1, mute)

    # The mute replica was cut off, and nobody skipped it.
    assert not await mute.renew()
    assert not mute.lease.is_held()
    noted = {ack.replica_id: ack for ack in (await record_of(world, plain)).acknowledgements}
    assert noted["replica-0"].outcome == "evicted"
    expired = noted["replica-mute"]
    assert expired.outcome == "expired"
    assert expired.fenced_at is not None
    assert expired.lease_ended_at is not None
    bound = timedelta(seconds=world.driver.policy.replica_answer_seconds)
    assert begun + bound <= expired.fenced_at < expired.lease_ended_at < expired.at
    await assert_purged(world, plain)

    # One store keeps a version of one tenant: the others went on, and nothing is certified.
    partial = await record_of(world, kept)
    assert (partial.step, partial.is_partial) == ("evicted", True)
    assert [(r.store, r.reason_code, r.until) for r in partial.refusals] == [
        ("objects.consents", "access-denied", None)
    ]
    left = [key for key in world.memory.objects if key.startswith(f"tenants/{kept}/")]
    assert left == sorted(locking.locked)

    await live(world, 19 * DAY)
    blocked = await record_of(world, held)
    assert blocked.is_blocked_by_hold
    assert blocked.step == "fenced"
    assert await world.outside.store(held), "under a hold the key is there, and opens what is kept"
    assert warnings(world, held) == warnings(world, kept) == ["at_risk|50"]
    assert world.watchdog.overview.flags == {
        "blocked_by_hold": 1,
        "partial": 1,
        "uncertifiable": 0,
        "overdue": 0,
        "past_target": 2,
    }
    assert world.watchdog.overview.remaining_seconds == 10 * DAY * 3600

    await legal_holds.release(world.outside, held, "h1", released_by="op-2")
    await live(world, DAY)
    await assert_purged(world, held)
    with pytest.raises(TooLateToHold):
        await legal_holds.place(world.outside, held, reason_code="litigation", placed_by="op")

    await live(world, 5 * DAY)
    assert warnings(world, kept) == ["at_risk|50", "at_risk|80"]
    await live(world, 5 * DAY)
    assert warnings(world, kept) == ["at_risk|50", "at_risk|80", "overdue|"]
    assert world.watchdog.overview.flags == {
        "blocked_by_hold": 0,
        "partial": 1,
        "uncertifiable": 0,
        "overdue": 1,
        "past_target": 1,
    }
    assert (world.watchdog.overview.remaining_seconds or 0) < 0
    asked = locking.asked
    await live(world, 20 * DAY)
    assert locking.asked >= asked + 20 * DAY // 6, "what stands still is driven all the time"
    locking.locked = set()
    await live(world, DAY)
    late = await record_of(world, kept)
    assert late.step == "certified"
    assert [refusal.until is not None for refusal in late.refusals] == [True]
    await assert_purged(world, kept)
    await live(world, 60 * DAY - int((world.now - begun).total_seconds() / 3600))
    assert world.now - begun >= timedelta(days=60)

    # Each warning once, however often the watchdog looked, and none for the purge that was in time.
    assert warnings(world, plain) == []
    assert warnings(world, held) == ["at_risk|50"]
    assert warnings(world, kept) == ["at_risk|50", "at_risk|80", "overdue|"]
    assert world.watchdog.overview.steps == {}
    assert world.watchdog.overview.remaining_seconds is None
    assert (await world.state(served)).status == "active"
    assert (await world.state(served)).active_adapter in world.engine.names, "the tenant that stays is served"


@pytest.mark.parametrize("away", [0.0, 0.99, 3.0, 28.5])
async def test_no_outage_of_the_purge_service_costs_a_tenant_its_export_and_its_days_never_cost_the_sla(
    tmp_path: Path, away: float
) -> None:
    """The service is down from the fence on for so many days."""
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY.evolve(right_of_export=True, export_wait_days=1))
    await learned(world, tenant)
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    purge = next(service for service in world.services if service.name == "purge")
    await world.handle(purge, await world.publish(tenant, requested))
    world.now += timedelta(days=away)
    await world.settle()
    record = await record_of(world, tenant)
    assert record.export is not None
    ready_at = record.export.ready_at
    assert ready_at is not None
    last_day = record.deadline - timedelta(days=1)
    assert record.export.waits_until == max(ready_at, min(ready_at + timedelta(days=1), last_day))
    log = [event.data for event in world.bus.topics[events.TENANTS]]
    assert "p1" in [data.export_id for data in log if isinstance(data, events.ExportReady)]
    world.now = max(world.now, record.export.waits_until)
    await world.settle()
    await assert_purged(world, tenant)
    ended = await record_of(world, tenant)
    assert ended.destruction_decided_at is not None
    assert ended.destruction_decided_at >= record.export.waits_until
    assert ended.verified_at[-1] <= ended.deadline


async def test_a_short_contract_is_warned_of_by_its_own_clock(tmp_path: Path) -> None:
    world = World(tmp_path)
    policy = POLICY.evolve(deletion_sla_days=10)
    tenant = await world.onboard("t1", policy)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await churned(world, tenant)
    await live(world, 4 * DAY)
    await live(world, DAY - 1)
    assert warnings(world, tenant) == []
    await live(world, 1)
    assert warnings(world, tenant) == ["at_risk|50"]
    await live(world, 3 * DAY)
    assert warnings(world, tenant) == ["at_risk|50", "at_risk|80"]
    await live(world, 2 * DAY)
    assert warnings(world, tenant) == ["at_risk|50", "at_risk|80", "overdue|"]


async def test_a_watchdog_that_was_away_for_the_whole_sla_says_everything_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await churned(world, tenant)
    await world.step()
    await world.step()
    world.now += timedelta(days=31)
    for _ in range(3):
        await Watchdog(world.driver).reconcile()  # a new one each time: it keeps nothing
    assert warnings(world, tenant) == ["at_risk|50", "at_risk|80", "overdue|"]


async def test_a_command_that_was_written_down_and_not_carried_out_is_taken_up(tmp_path: Path) -> None:
    """The consumer died after it announced the purge and wrote it down, and its event never came again."""
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    purge = next(service for service in world.services if service.name == "purge")
    world.crash.position, world.crash.when = len(world.crash.effects) + 1, "after"
    with pytest.raises(BaseException, match="put:purges"):
        await world.handle(purge, await world.publish(tenant, requested))
    assert (await world.driver.records.read(tenant, "p1")).step == "requested"
    assert (await world.state(tenant)).status == "active"
    await world.driver.reconcile()
    assert (await world.state(tenant)).status == "purging"


async def test_of_two_purge_commands_the_second_leaves_no_record(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    for purge_id in ("p1", "p2"):
        await world.publish(tenant, events.PurgeRequested(purge_id=purge_id, reason_code="churned", requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    assert sorted(key for key in world.memory.objects if key.startswith("purges/")) == [
        "purges/t1/p1.certificate.json",
        "purges/t1/p1.json",
    ]


async def test_the_metrics_of_the_watchdog_name_no_tenant(tmp_path: Path) -> None:
    world = World(tmp_path)
    metrics = Metrics(world)
    tenant = await world.onboard("tenant-canary", POLICY)
    assert "sano_purge_remaining_seconds{" not in metrics.shown(), "no purge, no number"
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await churned(world, tenant)
    await live(world, 4 * DAY)
    lines = metrics.shown()
    remaining = next(line for line in lines.splitlines() if line.startswith("sano_purge_remaining_seconds"))
    assert float(remaining.rpartition(" ")[2]) == 26 * DAY * 3600
    assert "sano_purge_open{" in lines
    assert {step for step in OPEN_STEPS if f'step="{step}"' in lines} == set(OPEN_STEPS)
    flags = {
        line.split('flag="')[1].split('"')[0]: float(line.rpartition(" ")[2])
        for line in lines.splitlines()
        if 'flag="' in line
    }
    assert flags == {
        "blocked_by_hold": 1,
        "partial": 0,
        "uncertifiable": 0,
        "overdue": 0,
        "past_target": 1,
        "unreadable": 0,
    }
    assert "canary" not in lines


def test_a_policy_whose_wait_for_an_export_breaks_its_own_sla_is_none() -> None:
    contradicting = TenantPolicy(deletion_sla_days=10, right_of_export=True, export_wait_days=10)
    assert not contradicting.keeps_its_promise
    assert contradicting.export_wait == timedelta(days=9), "where it was written down all the same"
    assert TenantPolicy(deletion_sla_days=8, right_of_export=True).export_wait_days < 8


async def test_a_purge_that_keeps_its_internal_target_is_not_counted_as_late(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    world.driver = replace(world.driver, policy=replace(world.driver.policy, target=timedelta(hours=2)))
    world.watchdog.driver = world.driver
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await churned(world, tenant)
    await live(world, 1)
    assert world.watchdog.overview.flags["past_target"] == 0
    await live(world, 1)
    assert world.watchdog.overview.flags["past_target"] == 1
    assert world.now - START < timedelta(days=1)
