"""Work beside the events is found by markers, shared out among the processes of a service, and lost nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation.rescans import RescanReconciler
from consumers.ledger.keeper import AuditKeeper
from consumers.purge.driver import PurgeReconciler
from consumers.purge.watchdog import Watchdog
from consumers.runtime.share import Share
from consumers.training.runner import Runner
from producers.queries.purges_due import purges_due
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.evidence.audit import Actor
from schemas.objects import object_keys
from schemas.objects.object_keys import WorkKind
from schemas.objects.state import RunState, TenantState
from schemas.objects.terms import Rescan, Term
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy, assemble
from tenancy.lifecycle.replicas import Replicas
from tenancy.state.open_work import SPARED_SECONDS, Left, OpenWork, announce, markers
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import erase_prefix
from tenancy.tenant_id import TenantId
from tests.fixtures.noting_store import NotingStore
from tests.invariants.worlds import learned, purged
from tests.world.world import LEASE_SECONDS, PURGE, QUIESCE_SECONDS, World

KINDS: tuple[WorkKind, ...] = ("training", "withdrawals", "rescans", "purges", "audit")
NAMES = tuple(f"t{number}" for number in range(8))


@dataclass
class Workers:
    """Starts nothing, and notes what it was asked to start."""

    started: list[tuple[str, str]] = field(default_factory=list)

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return True

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return (tenant, run_id) in self.started

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        self.started.append((tenant, run_id))


@dataclass
class Process:
    """One process of the service that does this kind of work, and what it has read."""

    world: World
    kind: WorkKind
    share: Share
    workers: Workers = field(default_factory=Workers)
    store: NotingStore = field(default_factory=NotingStore)

    def __post_init__(self) -> None:
        memory = self.world.memory
        self.store.objects, self.store._ids = memory.objects, memory._ids
        self.look, self.sweep = self._made()

    def _made(self) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        world, owns, now = self.world, self.share.owns, self.world.seconds
        tenancy: Tenancy = assemble(self.store, world._master, world.bus, "/test", world.clock, now)
        match self.kind:
            case "training":
                runner = Runner(
                    tenancy, self.workers, world.scratch, LEASE_SECONDS, 0.0, QUIESCE_SECONDS, now=now, owns=owns
                )
                return runner.reconcile, runner.sweep
            case "withdrawals":
                replicas = Replicas(self.store, world.clock, PURGE.replica_answer_seconds)
                driver = WithdrawalReconciler(
                    tenancy, world.keys.certificate, replicas, QUIESCE_SECONDS, now=now, owns=owns
                )
                return driver.reconcile, driver.sweep
            case "rescans":
                searching = RescanReconciler(tenancy, QUIESCE_SECONDS, now=now, owns=owns)
                return searching.reconcile, searching.sweep
            case "purges":
                purging = PurgeReconciler(tenancy, world.keys, PURGE, now=now, owns=owns)
                return purging.reconcile, purging.sweep
            case "audit":
                checkpointer = Checkpointer(tenancy.audit, world.keys)
                keeper = AuditKeeper(tenancy, checkpointer, QUIESCE_SECONDS, now=now, owns=owns)
                return keeper.reconcile, keeper.sweep

    def taken(self) -> set[str]:
        """The tenants whose work was begun: of whose state or log anything was read, or whose run was started. A runner
        that is free looks at what waits at others, too.
        """
        if self.kind == "training":
            return {tenant for tenant, _ in self.workers.started}
        asked = {*map(object_keys.state_key, NAMES), *map(object_keys.audit_head, NAMES)}
        return {key.split("/")[1] for key in self.store.keys_read if key in asked}


def share(*partitions: int) -> Share:
    made = Share()
    made.follow("sano.tenants.v1", lambda: 2)
    made.assigned([("sano.tenants.v1", partition) for partition in partitions])
    return made


async def work(world: World, kind: WorkKind, tenant: TenantId) -> None:
    """Something that takes a look, as its writer leaves it."""
    match kind:
        case "training":
            await announce(world.outside.objects, kind, tenant)
            run = RunState(status="queued", requested_at=world.now, trigger="operator")
            await world.outside.states.swap(tenant, lambda state: state.evolve(runs={"r1": run}))
        case "withdrawals":
            await announce(world.outside.objects, kind, tenant)
            await world.outside.states.swap(tenant, withdrawn)
        case "rescans":
            await announce(world.outside.objects, kind, tenant)
            store = await world.outside.store(tenant)
            search = Rescan(term=Term(text="Okonkwo"), example_id="e1", reviewer_id="rev-1", asked_at=world.now)
            await store.put_record(object_keys.rescan("s1"), search)
        case "purges":
            requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
            event = await world.publish(tenant, requested)
            await world.handle(next(one for one in world.services if one.name == "purge"), event)
        case "audit":
            await entered(world, tenant)


def withdrawn(state: TenantState) -> TenantState:
    curation = state.curation.evolve(eligibility_version="w1")
    return state.evolve(curation=curation)


async def entered(world: World, tenant: TenantId, occurrence: str = "o1") -> None:
    actor = Actor(role="service", id="test")
    await world.outside.audit.append(tenant, AuditRecord(occurrence, "event.refused", world.now, actor))


async def onboarded(world: World, names: tuple[str, ...] = NAMES) -> list[TenantId]:
    return [await world.onboard(name) for name in names]


class MarkedStore(MemoryObjectStore):
    """Notes the kinds of work that writes make, and each write of whose kind the tenant has no marker."""

    made: set[WorkKind]
    unmarked: list[str]

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        made = _work_made(key, body, if_absent=if_absent)
        if made is not None:
            self.made.add(made[0])
            if object_keys.open_work(*made) not in self.objects:
                self.unmarked.append(key)
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


def _work_made(key: str, body: bytes, *, if_absent: bool) -> tuple[WorkKind, str] | None:
    root, tenant, *rest = [*key.split("/"), ""]
    if root == "audit" and rest[0] == "entries":
        return "audit", tenant
    if root == "purges" and if_absent and not key.endswith(".certificate.json"):
        return "purges", tenant
    if root == "tenants" and rest[:2] == ["withdrawals", "open"]:
        return "withdrawals", tenant
    if root == "tenants" and rest[:2] == ["terms", "rescans"]:
        return "rescans", tenant
    if root == "registry" and rest[0] == "state.json":
        state = read_tolerant(TenantState, body)
        if state.status == "active" and any(not run.is_over for run in state.runs.values()):
            return "training", tenant
    return None


async def test_no_write_makes_work_before_a_marker_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.world.world.MemoryObjectStore", MarkedStore)
    monkeypatch.setattr(MarkedStore, "made", set(), raising=False)
    monkeypatch.setattr(MarkedStore, "unmarked", [], raising=False)
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    await purged(world, tenant)
    assert MarkedStore.made == set(KINDS)
    assert MarkedStore.unmarked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_two_processes_of_a_service_share_the_work_and_do_none_twice(kind: WorkKind, tmp_path: Path) -> None:
    world = World(tmp_path)
    tenants = await onboarded(world)
    for tenant in tenants:
        await work(world, kind, tenant)
    one, other = Process(world, kind, share(0)), Process(world, kind, share(1))
    await asyncio.gather(one.look(), other.look())
    mine, theirs = one.taken(), other.taken()
    assert mine and theirs and not mine & theirs
    assert mine | theirs == set(NAMES)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_share_of_a_process_that_died_moves_to_the_others(kind: WorkKind, tmp_path: Path) -> None:
    world = World(tmp_path)
    for tenant in await onboarded(world):
        await work(world, kind, tenant)
    left = Process(world, kind, share(1))
    await left.look()
    before = left.taken()
    left.share.assigned([("sano.tenants.v1", 0), ("sano.tenants.v1", 1)])
    await left.look()
    assert before < set(NAMES) == left.taken()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_look_costs_one_listing_however_many_tenants_there_are(kind: WorkKind, tmp_path: Path) -> None:
    world = World(tmp_path)
    await onboarded(world)
    process = Process(world, kind, share(0, 1))
    await process.look()
    assert process.store.keys_read == []


@pytest.mark.parametrize("kind", KINDS)
async def test_the_round_announces_what_lost_its_marker(kind: WorkKind, tmp_path: Path) -> None:
    world = World(tmp_path)
    tenants = await onboarded(world)
    if kind == "withdrawals":  # an open withdrawal, and not only the trace of one
        await world.publish(tenants[0], events.ConsentGranted(consent_id="consent-1", version=1))
        await world.publish(tenants[0], await world.approval(tenants[0], "e1"))
        await world.publish(tenants[0], events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
        while await world.deliver():
            pass
    else:
        await work(world, kind, tenants[0])
    await erase_prefix(world.memory, object_keys.open_work_prefix(kind))
    process = Process(world, kind, share(0, 1))
    await process.look()
    assert process.taken() == set()
    await process.sweep()
    assert list(await markers(world.memory, kind)) == [tenants[0]]


@pytest.mark.parametrize("kind", ["training", "rescans"])
async def test_a_tenant_whose_state_cannot_be_read_hides_none_behind_it_from_the_round(
    kind: WorkKind, tmp_path: Path
) -> None:
    world = World(tmp_path)
    broken, behind = (await onboarded(world, ("t1", "t2")))[:2]
    await work(world, kind, behind)
    await erase_prefix(world.memory, object_keys.open_work_prefix(kind))
    await world.memory.put(object_keys.state_key(broken), b"no state")
    await Process(world, kind, share(0, 1)).sweep()
    assert list(await markers(world.memory, kind)) == [behind]


async def test_the_log_is_signed_once_and_its_marker_goes_when_no_writer_can_be_behind_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    [tenant] = await onboarded(world, ("t1",))
    await entered(world, tenant)
    keeper = Process(world, "audit", share(0, 1))
    await keeper.look()
    head = await world.outside.audit.head(tenant)
    assert head is not None and head.unsigned == 0
    world.now += timedelta(seconds=QUIESCE_SECONDS)
    await entered(world, tenant, "o2")  # announced a moment ago, as this process remembers
    await keeper.look()
    head = await world.outside.audit.head(tenant)
    assert head is not None and (head.seq, head.unsigned) == (2, 0)
    world.now += timedelta(seconds=QUIESCE_SECONDS + SPARED_SECONDS)
    await keeper.look()
    assert await markers(world.memory, "audit") == {}


async def test_a_marker_outlasts_whoever_relied_on_an_earlier_announcement(tmp_path: Path) -> None:
    """Who announced a moment ago spares the next announcement, and may write the entry as late as its deadline."""
    world = World(tmp_path)
    [tenant] = await onboarded(world, ("t1",))
    keeper = Process(world, "audit", share(0, 1))
    await entered(world, tenant)
    await keeper.look()
    world.now += timedelta(seconds=SPARED_SECONDS - 1)
    before = await markers(world.memory, "audit")
    await world.outside.audit.announce(tenant)
    assert await markers(world.memory, "audit") == before
    for _ in range(int(QUIESCE_SECONDS) - 1):
        world.now += timedelta(seconds=1)
        await keeper.look()
        assert await markers(world.memory, "audit") == before


async def test_a_log_that_cannot_be_signed_keeps_its_marker(tmp_path: Path) -> None:
    world = World(tmp_path)
    [tenant] = await onboarded(world, ("t1",))
    await entered(world, tenant)
    world.memory.objects.pop(object_keys.audit_head(tenant))
    await world.memory.put(object_keys.audit_checkpoint(tenant, 1), b"{}")
    keeper = Process(world, "audit", share(0, 1))
    for _ in range(3):
        await keeper.look()
        world.now += timedelta(seconds=QUIESCE_SECONDS + SPARED_SECONDS)
    assert list(await markers(world.memory, "audit")) == [tenant]


async def test_a_churn_from_which_no_purge_followed_is_seen_by_the_watchdog_and_the_doctor(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await onboarded(world, ("t1", "t2"))
    event = await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.handle(next(one for one in world.services if one.name == "ledger"), event)
    for _ in range(3):
        await world.driver.reconcile()
        world.now += timedelta(seconds=QUIESCE_SECONDS)
    watchdog = Watchdog(world.driver)
    await watchdog.reconcile()
    assert watchdog.overview.not_fenced == 1
    assert (await purges_due(world.memory, world.clock)).not_opened == [tenant]
    await world.settle()
    assert (await purges_due(world.memory, world.clock)).not_opened == []


async def test_a_purges_marker_goes_once_it_is_certified(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenants = await onboarded(world, ("t1", "t2"))
    await work(world, "purges", tenants[0])
    assert list(await markers(world.memory, "purges")) == [tenants[0]]
    await world.settle()
    assert (await world.state(tenants[0])).status == "purged"
    for _ in range(2):
        world.now += timedelta(seconds=QUIESCE_SECONDS)
        await world.driver.reconcile()
    assert await markers(world.memory, "purges") == {}


async def test_a_look_that_takes_long_at_one_tenant_holds_up_no_other_and_is_not_doubled(tmp_path: Path) -> None:
    world = World(tmp_path)
    slow, quick = await onboarded(world, ("t1", "t2"))
    open_work = OpenWork(world.memory, "purges", QUIESCE_SECONDS, world.seconds)
    looked: list[str] = []
    end = asyncio.Event()

    async def at(tenant: TenantId) -> Left:
        looked.append(tenant)
        if tenant == slow:
            await end.wait()
        return "something"

    await announce(world.memory, "purges", slow)
    first = asyncio.create_task(open_work.reconcile(at))
    while not looked:
        await asyncio.sleep(0)
    await announce(world.memory, "purges", quick)
    async with asyncio.timeout(10):
        await open_work.reconcile(at)
    assert looked == [slow, quick]
    end.set()
    await first
    await open_work.reconcile(at)
    assert sorted(looked[2:]) == [slow, quick]
