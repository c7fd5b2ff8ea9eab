"""Leases on training runs: the fence decides, the clock only suggests."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from inference.replica.lease import ReplicaLease
from schemas.bus.events import TrainingStarted
from schemas.objects import object_keys
from schemas.objects.state import RunState, TenantState
from schemas.objects.training import LeaseRecord
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import LeaseHeld, LeaseLost, Refused, TenantFenced
from tenancy.platform.threads import REQUESTS
from tenancy.state.leases import Lease, Leases, holds, with_run
from tenancy.state.registry import with_events
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.s3 import S3ObjectStore
from tenancy.storage.tenant_store import TenantStore
from tests.contract.conftest import START, TENANT, SteppedClock

RUN, OTHER_RUN = "run-1", "run-2"
SECONDS = 30.0
BOUND_SECONDS = 60.0


@dataclass
class Bench:
    """A tenant with one queued run, and workers that want it."""

    tenancy: Tenancy
    store: TenantStore
    clock: SteppedClock

    def worker(self, name: str, store: Any = None) -> Leases:
        return Leases(store or self.store, self.tenancy.outbox, name, self.clock, SECONDS)

    async def state(self) -> TenantState:
        return (await self.tenancy.states.read(TENANT)).state

    async def run(self) -> RunState:
        return (await self.state()).runs[RUN]

    async def record(self) -> LeaseRecord:
        return (await self.store.get_record(object_keys.lease(RUN), LeaseRecord))[0]

    async def change_run(self, **changed: Any) -> None:
        await self.tenancy.states.swap(TENANT, lambda state: with_run(state, RUN, state.runs[RUN].evolve(**changed)))

    async def queue(self, run_id: str) -> None:
        queued = RunState(status="queued", requested_at=START)
        await self.tenancy.states.swap(TENANT, lambda state: with_run(state, run_id, queued))

    async def purge(self) -> None:
        await self.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging"))


@pytest.fixture
def bench(tenancy: Tenancy, onboarded: TenantState, clock: SteppedClock) -> Bench:
    async def make() -> Bench:
        made = Bench(tenancy, await tenancy.store(TENANT), clock)
        await made.queue(RUN)
        return made

    return asyncio.run(make())


async def test_taking_a_run_raises_the_tenants_fence_and_marks_it_running(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    run = await bench.run()
    assert (run.status, run.fence, run.attempts) == ("running", 1, 1)
    assert (await bench.state()).fence == 1
    assert await bench.record() == lease.record
    assert (lease.record.holder, lease.record.fence) == ("a", 1)
    assert (lease.record.expires_at - START).total_seconds() == SECONDS


async def test_a_run_whose_holder_is_alive_is_not_given_to_another(bench: Bench) -> None:
    await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS - 1)
    with pytest.raises(LeaseHeld):
        await bench.worker("b").acquire(RUN)
    assert (await bench.run()).fence == 1


async def test_after_the_lease_ended_another_takes_the_run_under_a_higher_fence(bench: Bench) -> None:
    first = await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS)
    second = await bench.worker("b").acquire(RUN)
    assert (first.record.fence, second.record.fence) == (1, 2)
    state = await bench.state()
    assert not holds(state, RUN, 1), "the slower holder may publish nothing any more"
    assert holds(state, RUN, 2)
    assert state.runs[RUN].attempts == 2


async def test_a_holder_that_was_overtaken_cannot_renew(bench: Bench) -> None:
    first = await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS)
    await bench.worker("b").acquire(RUN)
    with pytest.raises(LeaseLost):
        await bench.worker("a").renew(first)
    assert (await bench.record()).holder == "b"


async def test_renewing_keeps_the_run_for_as_long_as_it_goes_on(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    for _ in range(5):
        bench.clock.step(SECONDS - 1)
        lease = await bench.worker("a").renew(lease)
        with pytest.raises(LeaseHeld):
            await bench.worker("b").acquire(RUN)
    assert lease.record.fence == (await bench.run()).fence == 1


async def test_an_old_hold_on_a_renewed_lease_is_worth_nothing(bench: Bench) -> None:
    first = await bench.worker("a").acquire(RUN)
    bench.clock.step(1)
    await bench.worker("a").renew(first)
    bench.clock.step(1)
    with pytest.raises(LeaseLost):
        await bench.worker("a").renew(first)


@pytest.mark.parametrize("by_another", [False, True], ids=["its own", "another's"])
async def test_a_renewal_whose_answer_was_lost_finds_what_it_wrote_and_goes_on(bench: Bench, by_another: bool) -> None:
    """The client tried again by itself, and was refused for its own first write."""

    class Lossy:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, key: str, record: LeaseRecord, **options: Any) -> str:
            written = record.evolve(holder="b") if by_another else record
            await bench.store.put_record(key, written, **options)
            return await bench.store.put_record(key, record, **options)

    lease = await bench.worker("a").acquire(RUN)
    bench.clock.step(1)
    if by_another:
        with pytest.raises(LeaseLost):
            await bench.worker("a", Lossy()).renew(lease)
        return
    again = await bench.worker("a", Lossy()).renew(lease)
    assert again.record.expires_at == START + timedelta(seconds=SECONDS + 1)
    assert (await bench.worker("a").renew(again)).record.fence == lease.record.fence


async def test_a_lease_whose_record_was_removed_is_lost(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    await bench.store.erase(object_keys.lease(RUN))
    with pytest.raises(LeaseLost):
        await bench.worker("a").renew(lease)


async def test_two_who_reach_for_a_run_at_once_get_different_fences_or_nothing(bench: Bench) -> None:
    outcomes = await asyncio.gather(
        *[bench.worker(f"worker-{number}").acquire(RUN) for number in range(6)], return_exceptions=True
    )
    leases = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
    assert all(isinstance(outcome, Lease | LeaseHeld | LeaseLost) for outcome in outcomes)
    fences = [lease.record.fence for lease in leases]
    assert len(set(fences)) == len(fences)
    state = await bench.state()
    assert sum(holds(state, RUN, fence) for fence in fences) <= 1
    assert state.runs[RUN].attempts == state.runs[RUN].fence == state.fence


async def test_a_run_is_not_taken_while_another_one_of_the_tenant_is_at_work(bench: Bench) -> None:
    await bench.queue(OTHER_RUN)
    await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS - 1)
    before = await bench.state()
    with pytest.raises(LeaseHeld):
        await bench.worker("b").acquire(OTHER_RUN)
    assert await bench.state() == before, "no attempt was used"
    bench.clock.step(1)
    assert (await bench.worker("b").acquire(OTHER_RUN)).record.fence == 2
    await bench.change_run(status="queued")
    with pytest.raises(LeaseHeld):
        await bench.worker("a").acquire(RUN)


async def test_of_several_who_reach_for_two_runs_at_once_one_works_at_the_most(bench: Bench) -> None:
    await bench.queue(OTHER_RUN)
    outcomes = await asyncio.gather(
        *[bench.worker(f"worker-{number}").acquire((RUN, OTHER_RUN)[number % 2]) for number in range(6)],
        return_exceptions=True,
    )
    assert all(isinstance(outcome, Lease | LeaseHeld | LeaseLost) for outcome in outcomes)
    runs = (await bench.state()).runs.values()
    assert sorted(run.status for run in runs) == ["queued", "running"]
    assert sum(isinstance(outcome, Lease) for outcome in outcomes) == 1


async def test_a_run_that_another_took_between_the_look_and_the_swap_is_left_to_it(bench: Bench) -> None:
    """``c`` finds ``a``'s lease over; before it swaps, ``b`` has taken the run and is alive."""
    await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS)

    class Overtaken:
        tenant = TENANT

        async def find_record(self, *arguments: Any) -> Any:
            seen = await bench.store.find_record(*arguments)
            await bench.worker("b").acquire(RUN)
            return seen

    with pytest.raises(LeaseHeld):
        await bench.worker("c", Overtaken()).acquire(RUN)
    assert holds(await bench.state(), RUN, 2)
    assert (await bench.record()).holder == "b"


async def test_a_slower_holder_that_writes_its_record_late_loses_and_hands_out_nothing(bench: Bench) -> None:
    """``a`` won fence 1, then slept; ``b`` took fence 2 meanwhile; now ``a`` writes its record over ``b``'s."""

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, *arguments: Any, **options: Any) -> str:
            bench.clock.step(SECONDS)
            await bench.worker("b").acquire(RUN)
            return await bench.store.put_record(*arguments, **options)

    with pytest.raises(LeaseLost):
        await bench.worker("a", Slow()).acquire(RUN)
    state = await bench.state()
    assert state.runs[RUN].fence == 2
    assert not holds(state, RUN, 1)
    # The record is a's, for a fence that is over: b cannot renew, and afterwards the run goes to the next.
    assert await bench.worker("c").alive(RUN, state.runs[RUN])
    bench.clock.step(SECONDS)
    assert not await bench.worker("c").alive(RUN, state.runs[RUN])
    assert (await bench.worker("c").acquire(RUN)).record.fence == 3


async def test_a_holder_counts_as_alive_before_its_record_is_written(bench: Bench) -> None:
    """Another service looks between the swap and the record: it must not take the run, nor give it up."""
    looks: list[bool] = []

    class Looked:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, *arguments: Any, **options: Any) -> str:
            looks.append(await bench.worker("b").alive(RUN, await bench.run()))
            with pytest.raises(LeaseHeld):
                await bench.worker("b").acquire(RUN)
            return await bench.store.put_record(*arguments, **options)

    lease = await bench.worker("a", Looked()).acquire(RUN)
    assert looks == [True]
    run = await bench.run()
    assert (run.attempts, run.fence, lease.record.fence) == (1, 1, 1), "no attempt was burnt"


async def test_the_record_is_written_before_anything_is_said_on_the_bus(
    bench: Bench, publisher: RecordingPublisher
) -> None:
    """A bus that answers slowly would outlast the time that a holder without a record is given."""
    said: list[int] = []

    class Looked:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, *arguments: Any, **options: Any) -> str:
            said.append(len(publisher.events))
            return await bench.store.put_record(*arguments, **options)

    def announced(state: TenantState, fence: int) -> TenantState:
        return with_events(state, bench.tenancy.outbox.entry(TrainingStarted(run_id=RUN, fence=fence)))

    await bench.worker("a", Looked()).acquire(RUN, announced)
    assert (said, len(publisher.events)) == ([0], 1)


async def test_a_holder_that_died_before_its_record_is_found_dead_like_any_other(bench: Bench) -> None:
    class Dead:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, *_: Any, **__: Any) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await bench.worker("a", Dead()).acquire(RUN)
    assert (await bench.run()).fence == 1
    bench.clock.step(SECONDS)
    assert (await bench.worker("b").acquire(RUN)).record.fence == 2


# --- the tenant's fence


async def test_no_lease_is_taken_or_renewed_once_the_tenant_is_fenced(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    await bench.purge()
    with pytest.raises(LeaseLost):
        await bench.worker("a").renew(lease)
    bench.clock.step(SECONDS)
    with pytest.raises(TenantFenced):
        await bench.worker("b").acquire(RUN)
    assert not holds(await bench.state(), RUN, 1), "a fenced tenant's run can publish nothing"


async def test_no_lease_outlives_the_tenants_fence_by_more_than_its_own_seconds(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    bench.clock.step(SECONDS / 2)
    lease = await bench.worker("a").renew(lease)
    fenced_at = bench.clock()
    await bench.purge()
    for _ in range(5):
        bench.clock.step(1)
        with pytest.raises(LeaseLost):
            await bench.worker("a").renew(lease)
    assert ((await bench.record()).expires_at - fenced_at).total_seconds() <= SECONDS


async def test_a_purge_between_the_fence_and_the_record_leaves_no_lease(bench: Bench) -> None:
    class PurgedMeanwhile:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

        async def put_record(self, *arguments: Any, **options: Any) -> str:
            await bench.purge()
            return await bench.store.put_record(*arguments, **options)

    with pytest.raises(LeaseLost):
        await bench.worker("a", PurgedMeanwhile()).acquire(RUN)


# --- what can be worked on


@pytest.mark.parametrize("status", ["publishing", "completed", "rejected", "failed"])
async def test_a_run_that_is_over_is_not_taken_again(bench: Bench, status: str) -> None:
    await bench.change_run(status=status)
    with pytest.raises(Refused, match="not waiting for a worker"):
        await bench.worker("a").acquire(RUN)
    assert (await bench.state()).fence == 0


async def test_a_run_that_nobody_asked_for_is_not_taken(bench: Bench) -> None:
    with pytest.raises(Refused, match="not waiting for a worker"):
        await bench.worker("a").acquire("run-unknown")


async def test_a_run_that_ended_cannot_be_renewed(bench: Bench) -> None:
    lease = await bench.worker("a").acquire(RUN)
    await bench.change_run(status="failed")
    with pytest.raises(LeaseLost):
        await bench.worker("a").renew(lease)


async def test_what_taking_a_run_announces_is_in_the_same_swap(bench: Bench, publisher: RecordingPublisher) -> None:
    def announced(state: TenantState, fence: int) -> TenantState:
        return with_events(state, bench.tenancy.outbox.entry(TrainingStarted(run_id=RUN, fence=fence)))

    before = (await bench.state()).rev
    await bench.worker("a").acquire(RUN, announced)
    assert [event.data for event in publisher.events] == [TrainingStarted(run_id=RUN, fence=1)]
    assert (await bench.state()).rev == before + 2, "one swap for all, one to strike the event out"


async def test_a_lease_record_is_sealed_like_everything_of_the_tenant(bench: Bench) -> None:
    await bench.worker("holder-canary").acquire(RUN)
    key = object_keys.tenant_key(TENANT, object_keys.lease(RUN))
    assert b"holder-canary" not in (await bench.tenancy.objects.get(key)).body


async def test_renewals_wait_for_no_request_that_was_made_before_them(s3_store: S3ObjectStore) -> None:
    """Not of a training run's lease nor of a replica's: reads that are slow enough would end both."""
    clock, may_go_on = SteppedClock(), threading.Event()
    tenancy = assemble(s3_store, KeyFileMasterKey(bytes(range(32))), RecordingPublisher(), "/sanolith/test", clock)
    await tenancy.states.create(TenantState(tenant=TENANT, nonce="n0"))
    await tenancy.keys.create(TENANT)
    made = Bench(tenancy, await tenancy.store(TENANT), clock)
    await made.queue(RUN)
    lease = await made.worker("a").acquire(RUN)
    replica = ReplicaLease(tenancy, "replica-0", "d" * 64, SECONDS, clock())
    await replica.register()
    slow = [asyncio.create_task(s3_store.threads.run(lambda: may_go_on.wait(BOUND_SECONDS))) for _ in range(REQUESTS)]
    await asyncio.sleep(0)
    clock.step(1)
    try:
        async with asyncio.timeout(BOUND_SECONDS / 2):
            assert (await made.worker("a").renew(lease)).record.expires_at > lease.record.expires_at
            await replica.renew()
    finally:
        may_go_on.set()
        await asyncio.gather(*slow)
    assert replica.expires_at == clock() + timedelta(seconds=SECONDS)
