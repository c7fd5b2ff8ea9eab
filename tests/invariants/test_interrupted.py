"""Invariant 10 for a worker that is asked to end, by a deployment or a node's drain: it gives its attempt back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.training.publication import MAX_ATTEMPTS
from consumers.training.worker import Worker
from schemas.objects.state import RunState
from tenancy.errors import LeaseLost
from tenancy.tenant_id import TenantId
from tests.invariants.test_runs import staged, tenant_of
from tests.world.crashes import CrashAt, SimulatedCrash
from tests.world.world import LEASE_SECONDS, World

RUN = "batch-1"


@dataclass
class Interrupting(CrashAt):
    """Asks a worker to end right before one of its effects, and may kill it at a later one."""

    interrupts_at: int | None = None
    kills_at: int | None = None
    worker: Worker | None = None
    seen: list[str] = field(default_factory=list)

    def before(self, effect: str, process: str = "") -> None:
        super().before(effect, process)
        if process != "worker" or self.worker is None:
            return
        if len(self.seen) == self.kills_at:
            raise SimulatedCrash(effect)
        if len(self.seen) == self.interrupts_at:
            self.worker.interrupt()
        self.seen.append(effect)


async def with_a_queued_run(world: World) -> TenantId:
    tenant = await tenant_of(world)
    while await world.deliver():
        pass
    assert (await run_of(world, tenant)).status == "queued"
    return tenant


async def run_of(world: World, tenant: TenantId) -> RunState:
    return (await world.state(tenant)).runs[RUN]


async def attempt(world: World, tenant: TenantId, crash: Interrupting) -> None:
    """One worker, in the way that ``crash`` says."""
    crash.seen.clear()
    crash.worker = await world.worker(tenant)
    try:
        await crash.worker.attempt(RUN)
    finally:
        crash.worker = None


def assert_nothing_left(world: World) -> None:
    assert staged(world) == []
    assert list((world.scratch / "scratch").iterdir()) == []


async def undisturbed(scratch: Path) -> list[str]:
    crash = Interrupting()
    world = World(scratch, crash)
    tenant = await with_a_queued_run(world)
    await attempt(world, tenant, crash)
    return list(crash.seen)


async def test_a_worker_that_is_interrupted_before_any_of_its_effects_gives_its_attempt_back_or_goes_on_to_the_end(
    tmp_path: Path,
) -> None:
    effects = await undisturbed(tmp_path / "undisturbed")
    last_step = max(number for number, effect in enumerate(effects) if effect == "put:staging")
    for position in range(len(effects)):
        crash = Interrupting(interrupts_at=position)
        world = World(tmp_path / str(position), crash)
        tenant = await with_a_queued_run(world)
        await attempt(world, tenant, crash)
        run = await run_of(world, tenant)
        expected = ("queued", 0) if position < last_step else ("completed", 1)
        assert (run.status, run.attempts) == expected, effects[position]
        assert_nothing_left(world)
        await world.settle()
        run = await run_of(world, tenant)
        assert (run.status, run.attempts) == ("completed", 1), effects[position]
        assert len((await world.state(tenant)).adapters) == 1


async def test_one_that_is_asked_to_end_before_it_has_begun_takes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await with_a_queued_run(world)
    worker = await world.worker(tenant)
    worker.interrupt()
    await worker.attempt(RUN)
    run = await run_of(world, tenant)
    assert (run.status, run.attempts, run.fence) == ("queued", 0, 0)


async def test_more_polite_stops_than_there_are_attempts_end_no_run(tmp_path: Path) -> None:
    crash = Interrupting()
    effects = await undisturbed(tmp_path / "undisturbed")
    world = World(tmp_path / "stopped", crash)
    tenant = await with_a_queued_run(world)
    crash.interrupts_at = effects.index("put:staging")
    for stops in range(1, 2 * MAX_ATTEMPTS + 1):
        await attempt(world, tenant, crash)
        run = await run_of(world, tenant)
        assert (run.status, run.attempts, run.fence) == ("queued", 0, stops)
        await world.runner.reconcile()
        assert world.pending == [(tenant, RUN)], "at once, since no lease is waited for"
        world.pending.clear()
    await world.settle()
    assert (await run_of(world, tenant)).status == "completed"


async def test_one_that_is_killed_while_it_gives_its_attempt_back_uses_no_more_than_one(tmp_path: Path) -> None:
    position = (await undisturbed(tmp_path / "undisturbed")).index("put:staging")
    crash = Interrupting(interrupts_at=position)
    world = World(tmp_path / "whole", crash)
    await attempt(world, await with_a_queued_run(world), crash)
    given_back = crash.seen[position:]
    assert given_back[-2:] == ["swap:state", "erase:staging"]
    for kill in range(len(given_back)):
        crash = Interrupting(interrupts_at=position, kills_at=position + kill + 1)
        world = World(tmp_path / str(kill), crash)
        tenant = await with_a_queued_run(world)
        if kill == len(given_back) - 1:
            await attempt(world, tenant, crash)  # nothing follows its last effect
        else:
            with pytest.raises(SimulatedCrash):
                await attempt(world, tenant, crash)
        swapped = given_back.index("swap:state") <= kill
        run = await run_of(world, tenant)
        assert (run.status, run.attempts) == (("queued", 0) if swapped else ("running", 1))
        world.now += timedelta(seconds=LEASE_SECONDS)
        await world.settle()
        run = await run_of(world, tenant)
        assert (run.status, run.attempts) == ("completed", 1 if swapped else 2)
        assert_nothing_left(world)


async def test_one_whose_run_another_has_taken_gives_nothing_back(tmp_path: Path) -> None:
    """Its lease ended in its sleep; it is asked to end when it wakes, and finds the fence moved."""
    world = World(tmp_path)
    tenant = await with_a_queued_run(world)
    worker = await world.worker(tenant)
    lease = await worker.leases.acquire(RUN)
    world.now += timedelta(seconds=LEASE_SECONDS)
    await (await world.worker(tenant)).leases.acquire(RUN)
    with pytest.raises(LeaseLost):
        await worker.publication.give_back(RUN, lease.record.fence)
    run = await run_of(world, tenant)
    assert (run.status, run.attempts, run.fence) == ("running", 2, lease.record.fence + 1)
