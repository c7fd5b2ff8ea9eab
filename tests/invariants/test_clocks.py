"""Machines have clocks of their own, up to five seconds apart: no certificate is refused because of them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from consumers.purge.fence import record_request
from consumers.training.worker import Worker
from producers.commands import legal_holds, requests
from producers.commands.subcontractors import confirm
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import oldest_first
from tenancy.evidence.verification import verify_file
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.state.leases import Leases
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import gate_of_tests
from tests.invariants.worlds import DispatchedWorld, assert_purged, event, learned, receipt
from tests.world.purging import MuteReplica, record_of
from tests.world.world import LEASE_SECONDS, POLICY, World


class SkewedWorld(World):
    """Whoever reads the clock is another pod each time, whose clock is ahead by as much as may be, or not at all."""

    seed = 0

    def __init__(self, scratch: Path) -> None:
        self.ahead = random.Random(self.seed)
        super().__init__(scratch)

    def clock(self) -> datetime:
        return self.now + timedelta(seconds=self.ahead.choice((0.0, CLOCK_SKEW_SECONDS)))


async def assert_verified(world: World, tenant: TenantId, folder: Path) -> None:
    for _ in range(3):  # a clock that is behind may find the last waits not over yet
        await world.settle()
        world.now += timedelta(seconds=2 * CLOCK_SKEW_SECONDS)
    await assert_purged(world, tenant)
    record = await record_of(world, tenant)
    file = folder / "certificate.json"
    file.write_bytes((await world.memory.get(object_keys.certificate_key(record.tenant, record.purge_id))).body)
    verify_file(file, world.keys.trust)


@pytest.mark.parametrize("ahead", [0, 3, 90])
async def test_a_hold_released_by_a_clock_that_is_ahead_leaves_a_certificate_that_verifies(
    tmp_path: Path, ahead: int
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    now = world.now
    world.now = now + timedelta(seconds=ahead)
    await legal_holds.release(world.outside, tenant, "h1", released_by="op-2")
    world.now = now
    for _ in range(20):
        await world.step()  # without any time passing: the operator's clock stays ahead
    record = await record_of(world, tenant)
    released_at = record.holds[0].released_at
    assert released_at is not None
    assert record.destruction_decided_at == released_at == now + timedelta(seconds=ahead)
    await assert_verified(world, tenant, tmp_path)


@pytest.mark.parametrize("seed", range(6))
async def test_pods_that_take_turns_with_clocks_apart_leave_a_certificate_that_verifies(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SkewedWorld, "seed", seed)
    world = SkewedWorld(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await assert_verified(world, tenant, tmp_path)


@pytest.mark.parametrize("seed", range(6))
async def test_the_tenants_days_for_its_export_are_never_certified_as_cut_short(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pod sees the days over, another one, whose clock is behind, takes the decision."""
    monkeypatch.setattr(SkewedWorld, "seed", seed)
    world = SkewedWorld(tmp_path)
    tenant = await world.onboard("t1", POLICY.evolve(right_of_export=True))
    await learned(world, tenant)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    export = (await record_of(world, tenant)).export
    assert export is not None
    world.now = export.waits_until - timedelta(seconds=CLOCK_SKEW_SECONDS)
    for _ in range(20):
        await world.step()
    world.now = export.waits_until
    await assert_verified(world, tenant, tmp_path)


@pytest.mark.parametrize("ahead", [CLOCK_SKEW_SECONDS + 1, 90.0, 10 * 365 * 86_400.0])
async def test_a_purge_that_is_asked_for_in_the_future_is_asked_for_now_and_gains_no_day(
    tmp_path: Path, ahead: float
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    begun, world.now = world.now, world.now + timedelta(seconds=ahead)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    world.now = begun
    await assert_verified(world, tenant, tmp_path)
    record = await record_of(world, tenant)
    assert record.requested_at == record.fenced_at == begun
    assert record.deadline == begun + timedelta(days=POLICY.deletion_sla_days)


async def test_a_fence_by_a_clock_that_is_behind_is_not_before_the_request(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    await record_request(event(tenant, requested, world), world.outside, world.driver.records)
    asked_at, world.now = world.now, world.now - timedelta(seconds=90)
    await world.driver.reconcile()
    assert (await world.driver.records.read(tenant, "p1")).fenced_at == asked_at
    await assert_verified(world, tenant, tmp_path)


class WorkersClock(World):
    """The workers' clock is apart from everybody else's by ``wrong_by``."""

    wrong_by = timedelta()

    async def worker(self, tenant: TenantId) -> Worker:
        def clock() -> datetime:
            return self.now + self.wrong_by

        made = await super().worker(tenant)
        tenancy = replace(made.tenancy, clock=clock, outbox=replace(made.tenancy.outbox, clock=clock))
        leases = Leases(made.store, tenancy.outbox, "worker", clock, LEASE_SECONDS)
        return Worker(tenancy, made.store, self.keys.manifest, self.trainer, gate_of_tests, leases, self.scratch)


async def test_a_worker_whose_clock_was_a_year_ahead_once_keeps_no_newer_adapter_from_being_activated(
    tmp_path: Path,
) -> None:
    world = WorkersClock(tmp_path)
    tenant = await world.onboard("t1")
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    trained: list[str | None] = []
    for number, world.wrong_by in enumerate((timedelta(days=365), timedelta(), -timedelta(days=365))):
        for example in range(3):
            await world.publish(tenant, await world.approval(tenant, f"e{number}.{example}"))
        for _ in range(40):
            await world.step()
        trained.append((await world.state(tenant)).active_adapter)
    state = await world.state(tenant)
    assert oldest_first(state.adapters) == trained, "each was activated in its turn"
    told = [outcome for name, kind, outcome in world.outcomes if (name, kind) == ("adapters", "sano.adapter.ready")]
    assert told == [Outcome.EFFECT] * 3


async def test_a_withdrawal_is_answered_by_a_newer_adapter_whatever_the_clock_of_its_worker_said(
    tmp_path: Path,
) -> None:
    """With a manual activation the newer one waits to be activated, and no other training is asked for."""
    world = WorkersClock(tmp_path)
    tenant = await world.onboard("t1", POLICY.evolve(activation="manual"))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    world.wrong_by = timedelta(days=365)
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    for _ in range(40):
        await world.step()
    [first] = (await world.state(tenant)).adapters
    await requests.activate(world.outside, tenant)
    world.wrong_by = timedelta()
    await world.publish(tenant, events.ExampleRejected(example_id="e0", version=2, reviewer_id="r", reason_code="x"))
    for number in range(3, 6):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    for _ in range(40):
        await world.step()
    assert len((await world.state(tenant)).adapters) == 2
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    for _ in range(40):
        await world.step()
    state = await world.state(tenant)
    assert sorted(state.runs) == ["batch-1", "batch-2"]
    newest = (await requests.activate(world.outside, tenant)).digest
    assert newest != first
    await world.settle()
    assert (await world.state(tenant)).adapters[first].status == "retired"


class ReplicasClock(World):
    """The replica's clock is apart from everybody else's by ``wrong_by``."""

    wrong_by = timedelta()

    def _start_server(self) -> None:
        super()._start_server()
        tenancy = replace(self.server.agent.tenancy, clock=lambda: self.now + self.wrong_by)
        self.server.agent = replace(self.server.agent, tenancy=tenancy)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_replica_whose_clock_is_wrong_by_an_hour_leaves_a_certificate_that_verifies(
    tmp_path: Path, hours: int
) -> None:
    world = ReplicasClock(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    world.wrong_by = timedelta(hours=hours)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await assert_verified(world, tenant, tmp_path)
    record = await record_of(world, tenant)
    [noted] = record.acknowledgements
    assert noted.outcome == "evicted"
    assert record.fenced_at is not None
    assert record.fenced_at <= noted.at <= record.verified_at[0]


@pytest.mark.parametrize(("seconds", "counts"), [(CLOCK_SKEW_SECONDS, True), (CLOCK_SKEW_SECONDS + 1, False)])
async def test_a_receipt_of_before_the_fence_counts_no_longer_than_clocks_may_differ(
    tmp_path: Path, seconds: float, counts: bool
) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard("t1")
    mute = MuteReplica(world, "replica-mute")
    assert await mute.renew()
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    for _ in range(20):
        await world.step()
    fenced_at = (await record_of(world, tenant)).fenced_at
    assert fenced_at is not None
    evicted_at = fenced_at - timedelta(seconds=seconds)
    said = receipt(world, tenant, replica="replica-mute", incarnation=mute.lease.incarnation, evicted_at=evicted_at)
    await world.publish(tenant, events.ReplicaEvicted(replica_id="replica-mute", cause_id="p1", receipt=said))
    await assert_verified(world, tenant, tmp_path)
    noted = {one.replica_id: one for one in (await record_of(world, tenant)).acknowledgements}["replica-mute"]
    assert (noted.outcome, noted.at == evicted_at) == (("evicted", True) if counts else ("expired", False))
    assert [error.partition(":")[0] for error in world.errors] == ([] if counts else ["premature-receipt"])


@pytest.mark.parametrize("days", [-400, 400])
async def test_a_tenants_tool_whose_clock_is_wrong_takes_its_export_within_the_purge(tmp_path: Path, days: int) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY.evolve(right_of_export=True))
    digest = await learned(world, tenant)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    now, world.now = world.now, world.now + timedelta(days=days)
    taken = events.ExportAcknowledged(export_id="p1", adapter_digest=digest, acknowledged_by="op")
    await world.publish(tenant, taken)
    world.now = now
    await assert_verified(world, tenant, tmp_path)
    record = await record_of(world, tenant)
    assert record.export is not None
    assert record.export.acknowledged_at == (now if days > 0 else record.fenced_at)


async def test_a_hold_placed_by_a_clock_that_is_ahead_is_not_released_before_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    now, world.now = world.now, world.now + timedelta(hours=1)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    placed_at, world.now = world.now, now
    await legal_holds.release(world.outside, tenant, "h1", released_by="op-2")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await assert_verified(world, tenant, tmp_path)
    [hold] = (await record_of(world, tenant)).holds
    assert hold.released_at == hold.placed_at == placed_at


async def test_a_confirmation_by_a_clock_that_is_behind_is_not_before_the_decision(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.driver.policy = replace(world.driver.policy, subcontractors=("aws-s3",))
    tenant = await world.onboard("t1")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    for _ in range(20):
        await world.step()
    now, world.now = world.now, world.now - timedelta(hours=1)
    noted = await confirm(world.outside, tenant, "aws-s3", reference="doc-1", recorded_by="op")
    world.now = now
    await assert_verified(world, tenant, tmp_path)
    record = await record_of(world, tenant)
    assert record.confirmations == (noted,)
    assert noted.recorded_at == record.destruction_decided_at
