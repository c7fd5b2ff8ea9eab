"""A tenant has one run at work: each is trained on what the one before left."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from consumers.training.runner import Runner
from consumers.training.worker import Worker
from schemas.bus import events
from schemas.objects.state import RunState
from tenancy.errors import LeaseHeld
from tenancy.state.leases import Leases
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import gate_of_tests
from tests.invariants.stepping import Process, stepped
from tests.invariants.test_runs import staged, tenant_of
from tests.world.moment import Timestamp
from tests.world.world import LEASE_SECONDS, QUIESCE_SECONDS, World

RUNS = ("r1", "r2")


async def with_two_runs(world: World) -> TenantId:
    """A tenant with two queued runs, the first of which was asked for first."""
    tenant = await tenant_of(world, min_new_examples=100)
    for run_id in RUNS:
        await world.publish(tenant, events.TrainingRequested(run_id=run_id, trigger="operator"))
        world.now += timedelta(seconds=1)
    while await world.deliver():
        pass
    assert set(await runs(world, tenant)) == set(RUNS)
    return tenant


async def runs(world: World, tenant: TenantId) -> dict[str, RunState]:
    return dict((await world.state(tenant)).runs)


# --- one runner


@dataclass
class Importing:
    """Room for two, and every child is still importing: none has a lease."""

    children: set[str] = field(default_factory=set)

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return len(self.children) < 2

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return run_id in self.children

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        self.children.add(run_id)


async def test_a_child_that_has_no_lease_yet_keeps_the_tenants_next_run_waiting(tmp_path: Path) -> None:
    world = World(tmp_path)
    await with_two_runs(world)
    launcher = Importing()
    runner = Runner(world.outside, launcher, tmp_path, LEASE_SECONDS, 10.0, QUIESCE_SECONDS)
    for _ in range(3):  # the first one starts a child; the others are ticks and pokes
        await runner.reconcile()
        assert launcher.children == {"r1"}
    launcher.children.clear()
    runner.now = lambda: float("inf")
    await runner.reconcile()
    assert launcher.children == {"r1"}, "it ended without a word, and its run is still the first"


async def test_tenants_take_turns_at_a_worker_however_much_one_asks_for(tmp_path: Path) -> None:
    """Room for one. The first tenant has another run waiting whenever one of its own ends."""
    world = World(tmp_path)
    tenants = [await world.onboard(name) for name in ("a-busy", "b", "c")]
    for tenant in tenants:
        for run_id in RUNS if tenant == "a-busy" else RUNS[:1]:
            await world.publish(tenant, events.TrainingRequested(run_id=run_id, trigger="operator"))
    while await world.deliver():
        pass
    launcher = OneAtATime()
    runner = Runner(world.outside, launcher, tmp_path, LEASE_SECONDS, 0.0, QUIESCE_SECONDS)
    for _ in range(4):
        await runner.reconcile()
        launcher.child = None  # it ended without a word: its run waits again
    assert launcher.started == ["a-busy", "b", "c", "a-busy"]


@dataclass
class OneAtATime:
    """Room for one child."""

    child: tuple[TenantId, str] | None = None
    started: list[str] = field(default_factory=list)

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return self.child is None

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return self.child == (tenant, run_id)

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        self.child = (tenant, run_id)
        self.started.append(tenant)


# --- several


async def worker_of(world: World, tenant: TenantId, process: Process) -> Worker:
    tenancy = stepped(world, process)
    store = await tenancy.store(tenant)
    leases = Leases(store, tenancy.outbox, "worker", world.clock, LEASE_SECONDS)
    return Worker(tenancy, store, world.keys.manifest, world.trainer, gate_of_tests, leases, world.scratch)


async def refused_or_done(attempt: Awaitable[Any]) -> None:
    with suppress(LeaseHeld):
        await attempt


async def test_workers_of_two_runs_may_meet_at_any_effect_and_only_one_of_them_works(tmp_path: Path) -> None:
    """The other one goes without having used an attempt, and its run is the next."""
    world = World(tmp_path)
    tenant = await with_two_runs(world)
    moment = Timestamp.of(world)
    alone = Process()
    await alone.start((await worker_of(world, tenant, alone)).attempt("r1"))
    await alone.go()
    assert (await runs(world, tenant))["r1"].status == "completed"
    refused = 0
    for done in range(len(alone.effects)):
        moment.again(world)
        first, second = Process(), Process()
        await first.start((await worker_of(world, tenant, first)).attempt("r1"))
        if done == 0:  # both have found nobody at work, and are about to swap
            await second.start(refused_or_done((await worker_of(world, tenant, second)).attempt("r2")))
            await first.go(1)
        else:
            await first.go(done)
            await second.start(refused_or_done((await worker_of(world, tenant, second)).attempt("r2")))
        status = (await runs(world, tenant))["r1"].status
        await second.go()
        after = (await runs(world, tenant))["r2"]
        if status == "running":
            refused += 1
            assert (after.status, after.attempts, after.fence) == ("queued", 0, 0), alone.effects[done]
        else:
            assert (after.status, after.attempts) == ("completed", 1), alone.effects[done]
        await first.go()
        if after.status == "queued":
            await (await world.worker(tenant)).attempt("r2")
        ended = await runs(world, tenant)
        assert {run.status for run in ended.values()} == {"completed"}
        assert [ended[run_id].attempts for run_id in RUNS] == [1, 1]
        assert staged(world) == []
    assert refused > 5


async def test_a_dead_run_keeps_the_others_waiting_for_no_longer_than_its_lease(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await with_two_runs(world)
    dying, next_one = Process(), Process()
    await dying.start((await worker_of(world, tenant, dying)).attempt("r1"))
    await dying.go(3)
    await dying.die()
    with pytest.raises(LeaseHeld):
        await (await world.worker(tenant)).attempt("r2")
    world.now += timedelta(seconds=LEASE_SECONDS)
    await next_one.start((await worker_of(world, tenant, next_one)).attempt("r2"))
    # The dead one's run is taken up in between: whoever found it dead may not go on from that.
    again = Process()
    await again.start((await worker_of(world, tenant, again)).attempt("r1"))
    await again.go(2)
    with pytest.raises(LeaseHeld):
        await next_one.go()
    assert (await runs(world, tenant))["r2"].attempts == 0
    await again.go()
    await (await world.worker(tenant)).attempt("r2")
    assert {run.status for run in (await runs(world, tenant)).values()} == {"completed"}
