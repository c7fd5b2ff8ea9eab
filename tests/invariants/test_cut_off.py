"""A replica that one purge has cut off is not skipped by the next: until it is started anew it may hold anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaRecord
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import assert_purged, learned
from tests.world.purging import MuteReplica, record_of
from tests.world.world import POLICY, World

MUTE = "replica-mute"


async def replica(world: World) -> ReplicaRecord:
    return read_tolerant(ReplicaRecord, (await world.memory.get(object_keys.replica_key(MUTE))).body)


async def cut_off(world: World, tenant: TenantId) -> ReplicaRecord:
    """Purge ``tenant`` until it cuts the mute replica off, whose lease still runs."""
    mute = MuteReplica(world, MUTE)
    assert await mute.renew()
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    for _ in range(60):
        await world.step()
        if (record := await replica(world)).fenced_at is not None:
            assert world.now < record.expires_at, "its lease runs on"
            return record
        world.now += timedelta(seconds=10)
        await mute.renew()
    raise AssertionError("it was not cut off")


async def churned_until_it_waits(world: World, tenant: TenantId) -> None:
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    for _ in range(8):
        await world.step()


async def two_tenants(world: World) -> tuple[TenantId, TenantId]:
    one, other = [await world.onboard(f"tenant-{name}", POLICY) for name in ("a", "b")]
    for tenant in (one, other):
        await learned(world, tenant, text=tenant)
    return one, other


async def test_a_second_purge_waits_for_the_lease_of_a_replica_that_the_first_one_cut_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, other = await two_tenants(world)
    cut = await cut_off(world, one)
    await churned_until_it_waits(world, other)
    record = await record_of(world, other)
    assert set(record.replicas) == {"replica-0", MUTE}
    assert record.step == "shredded"
    assert [noted.replica_id for noted in record.acknowledgements] == ["replica-0"]
    await world.settle()
    for tenant in (one, other):
        await assert_purged(world, tenant)
        noted = {ack.replica_id: ack for ack in (await record_of(world, tenant)).acknowledgements}[MUTE]
        assert (noted.outcome, noted.fenced_at, noted.lease_ended_at) == ("expired", cut.fenced_at, cut.expires_at)
        assert noted.at >= cut.expires_at


async def test_a_purge_names_a_replica_that_is_long_cut_off_and_does_not_wait_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, other = await two_tenants(world)
    cut = await cut_off(world, one)
    world.now += timedelta(days=3)
    await world.settle()
    await churned_until_it_waits(world, other)
    record = await record_of(world, other)
    assert record.step == "deleted", "it waits for late writers only"
    noted = {ack.replica_id: ack for ack in record.acknowledgements}[MUTE]
    assert (noted.outcome, noted.fenced_at, noted.lease_ended_at) == ("expired", cut.fenced_at, cut.expires_at)


async def test_a_cut_off_replica_that_was_started_anew_answers_for_itself_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, other = await two_tenants(world)
    await cut_off(world, one)
    again = MuteReplica(world, MUTE)
    await again.lease.register()
    await churned_until_it_waits(world, other)
    record = await record_of(world, other)
    assert (record.step, MUTE in record.replicas) == ("shredded", True)
    assert (await replica(world)).fenced_at is None, "it has its time to answer"


async def test_a_withdrawal_waits_for_the_lease_of_a_replica_that_a_purge_cut_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = await world.onboard("tenant-a", POLICY)
    other = await world.onboard("tenant-b", POLICY.evolve(on_withdrawal="stop"))
    for tenant in (one, other):
        await learned(world, tenant, text=tenant)
    cut = await cut_off(world, one)
    withdrawn = events.ExampleWithdrawn(example_id="e0", reason_code="patient-request")
    await world.publish(other, withdrawn)
    for _ in range(8):
        await world.step()
    store = await world.outside.store(other)
    open_ones = [relative async for relative in store.list("withdrawals/open")]
    records = [(await store.get_record(relative, WithdrawalRecord))[0] for relative in open_ones]
    assert [(record.step, set(record.replicas)) for record in records] == [("retiring", {"replica-0", MUTE})]
    assert world.now < cut.expires_at
