"""The replica's agent: what it does on each event, what it signs, and the lease without which it serves no adapter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested, on_replica_evicted
from consumers.purge.policy import PurgePolicy
from inference.adapters.adapter_files import FetchedAdapter, NotServable
from inference.adapters.pins import Pins, pin_limit
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.engine.loaded_adapters import Eviction
from inference.errors import RequestRefused
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.agent import (
    AgentPorts,
    on_adapter_activated,
    on_adapter_retired,
    on_policy_changed,
    on_purge_fenced,
)
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import TenantStateCache
from inference.wiring import HANDLERS
from schemas.base.canonical import sha256_hex
from schemas.base.contract import read_tolerant
from schemas.bus.envelope import DataT, Event, decode, encode
from schemas.bus.events import (
    ADAPTERS,
    TENANTS,
    AdapterActivated,
    AdapterRetired,
    AdapterRolledBack,
    EventData,
    PolicyChanged,
    PurgeFenced,
    PurgeRequested,
    ReplicaEvicted,
)
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, CanaryState, PurgeState, TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable, StoreUnavailable, Transient
from tenancy.state.activation import retired
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT, OTHER = TenantId("t1"), TenantId("t10")
FIRST, SECOND, FOREIGN = "a" * 64, "c" * 64, "b" * 64
BASE_DIGEST = "d" * 64
OURS = AllKeys.numbered(1)
RETIRED = AdapterRetired(adapter_digest=FIRST, reason_code="superseded")
FENCED = PurgeFenced(purge_id="purge-1", fenced_at=NOW, deadline=NOW + timedelta(days=30))


@dataclass
class LoggedEngine(FakeEngine):
    """The fake of the world, on one log with the files and the bus, and perhaps with a slot that stays dirty."""

    log: list[str] = field(default_factory=list)
    slots_clear: bool = True
    before_eviction: asyncio.Event | None = None

    async def abort_all(self, digest: str) -> int:
        self.log.append(f"abort {digest[:1]}")
        return await super().abort_all(digest)

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        if self.before_eviction is not None:
            await self.before_eviction.wait()
        done = await super().evict(digest, scrub=scrub)
        self.log.append(f"evict {digest[:1]}")
        return Eviction(digest, done.was_loaded, scrub and self.slots_clear, scrub, done.remaining)


@dataclass
class LoggedFiles(FakeFiles):
    log: list[str] = field(default_factory=list)

    def remove(self, digest: str) -> bool:
        self.log.append(f"remove {digest[:1]}")
        return super().remove(digest)


@dataclass
class LoggedPublisher(RecordingPublisher):
    log: list[str] = field(default_factory=list)
    failing: int = 0

    async def publish(self, event: Event) -> None:
        if self.failing:
            self.failing -= 1
            raise BusUnavailable("the bus did not acknowledge")
        self.log.append(event.type.removeprefix("sano."))
        message = encode(event)
        await super().publish(decode(message.key, message.value, message.headers))


class Objects(MemoryObjectStore):
    """An object store that counts what is read, can be slow to answer and can be out of reach."""

    reads = 0
    reads_fail = False
    is_down = False
    answers_wait: asyncio.Event | None = None

    async def get(self, key: str) -> StoredObject:
        self.reads += 1
        if self.reads_fail:
            raise StoreUnavailable("the object store did not answer")
        stored, wait = await super().get(key), self.answers_wait
        if wait is not None:
            await wait.wait()
        return stored

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        if self.is_down:
            raise StoreUnavailable("the object store did not answer")
        return await super().put(key, body, **conditions)


class Bench:
    """An agent whose replica holds two adapters of one tenant and one of another."""

    def __init__(self, view_ttl: float = 1000.0) -> None:
        self.now = NOW
        self.log: list[str] = []
        self.objects = Objects()
        self.publisher = LoggedPublisher(log=self.log)
        self.tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(range(32))), self.publisher, "/sanolith/inference", lambda: self.now
        )
        self.engine, self.files = LoggedEngine(log=self.log), LoggedFiles(log=self.log)
        self.pins = Pins(pin_limit(4))
        residency = Residency(ResidencyPolicy(max_resident=4, idle_seconds=60), lambda: 0.0, self.pins)
        self.placement = Placement(self.engine, self.files, residency, 0.0, lambda: 0.0)
        self.views = TenantStateCache(
            self.tenancy, view_ttl, lambda: 0.0, on_blocked=(self.pins.forget,), on_read=self.pins.follow
        )
        self.lease = ReplicaLease(self.tenancy, "replica-0", BASE_DIGEST, 30.0, NOW)
        self.indexes = LoadedIndexes(2**24)
        self.ports = AgentPorts(
            self.tenancy, OURS.receipt, self.views, self.placement, self.lease, self.indexes, self.pins
        )

    async def start(self) -> None:
        await self.onboard(TENANT, FIRST, SECOND)
        await self.onboard(OTHER, FOREIGN)
        for tenant, digest in ((TENANT, FIRST), (TENANT, SECOND), (OTHER, FOREIGN)):
            async with self.placement.held(tenant, digest):
                pass
        self.log.clear()
        self.engine.calls.clear()

    async def onboard(self, tenant: TenantId, *digests: str) -> None:
        adapter = AdapterState(
            status="ready",
            run_id="r1",
            fence=1,
            training_set_id="e" * 64,
            base_model_digest=BASE_DIGEST,
            size_bytes=1,
            published_at=NOW,
        )
        await self.tenancy.keys.create(tenant)
        await self.tenancy.states.create(
            TenantState(
                tenant=tenant,
                nonce="n",
                adapters=dict.fromkeys(digests, adapter),
                active_adapter=digests[0],
            )
        )

    async def activate(self, digest: str) -> None:
        await self.tenancy.states.swap(TENANT, lambda state: state.evolve(active_adapter=digest))

    async def fence(self, tenant: TenantId = TENANT, **changes: Any) -> None:
        """As the purge that :data:`FENCED` tells of."""
        purge = PurgeState(purge_id="purge-1", fenced_at=NOW)
        emptied = {"status": "purging", "adapters": {}, "active_adapter": None, "purge": purge, **changes}
        await self.tenancy.states.swap(tenant, lambda state: state.evolve(**emptied))

    async def retire(self, digest: str) -> None:
        """As a withdrawal does, without the event that follows."""
        adapter = (await self.tenancy.states.read(TENANT)).state.adapters[digest]
        await self.tenancy.states.swap(TENANT, retired({digest: adapter}, "superseded", self.tenancy.outbox.entry))

    async def active(self) -> str | None:
        return await self.views.adapter(TENANT, "active", bytes)

    def acknowledgements(self) -> list[Event[Any]]:
        return [event for event in self.publisher.events if isinstance(event.data, ReplicaEvicted)]

    def receipt(self, position: int = -1) -> EvictionReceipt:
        data = self.acknowledgements()[position].data
        assert isinstance(data, ReplicaEvicted)
        signed = OURS.trust.verify(data.receipt, EVICTION_PREDICATE)
        return read_tolerant(EvictionReceipt, signed["predicate"])


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.start()
    return made


def event(data: DataT, tenant: TenantId = TENANT) -> Event[DataT]:
    return Event(subject=tenant, data=data, time=NOW, source="/sanolith/purge")


# --- purge


async def test_a_fenced_tenant_is_evicted_in_order_and_only_then_acknowledged(bench: Bench) -> None:
    await bench.fence()
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.EFFECT
    assert bench.engine.calls == [("abort", FIRST), ("evict", FIRST), ("abort", SECOND), ("evict", SECOND)]
    assert bench.log == ["abort a", "evict a", "abort c", "evict c", "remove a", "remove c", "replica.evicted"]
    assert bench.engine.loaded() == (FOREIGN,)
    assert bench.files.held == {FOREIGN}


async def test_a_fenced_tenant_is_refused_from_the_first_moment_and_the_others_are_not(bench: Bench) -> None:
    await bench.views.active(TENANT)
    goes_on = asyncio.Event()
    bench.engine.before_eviction = goes_on
    await bench.fence()
    handling = asyncio.create_task(on_purge_fenced(event(FENCED), bench.ports))
    await asyncio.sleep(0)
    assert bench.engine.loaded() == (FIRST, SECOND, FOREIGN), "the eviction has not begun"
    with pytest.raises(RequestRefused) as refused:
        await bench.views.active(TENANT)
    assert (refused.value.status, refused.value.code) == (403, "tenant_not_active")
    assert await bench.views.active(OTHER)
    goes_on.set()
    await handling
    with pytest.raises(RequestRefused):
        async with bench.placement.held(TENANT, FIRST):
            pass


async def test_a_view_that_is_being_read_while_the_tenant_is_blocked_is_not_served(bench: Bench) -> None:
    reading = bench.objects.answers_wait = asyncio.Event()
    view = asyncio.create_task(bench.views.active(TENANT))
    await asyncio.sleep(0)
    bench.views.block(TENANT)
    reading.set()
    with pytest.raises(RequestRefused):
        await view


async def test_the_receipt_is_signed_and_says_what_was_done(bench: Bench) -> None:
    bench.engine.running[FIRST] = 2
    await bench.fence()
    bench.now += timedelta(seconds=5)
    fenced = event(FENCED)
    await on_purge_fenced(fenced, bench.ports)
    (acknowledgement,) = bench.acknowledgements()
    assert (acknowledgement.subject, acknowledgement.causation_id) == (TENANT, fenced.id)
    assert bench.receipt() == EvictionReceipt(
        replica_id="replica-0",
        incarnation=bench.lease.incarnation,
        tenant=TENANT,
        cause_id="purge-1",
        evicted=(FIRST, SECOND),
        remaining=(FOREIGN,),
        slots_overwritten=True,
        prefix_cache_reset=True,
        local_files_deleted=True,
        requests_aborted=2,
        evicted_at=NOW + timedelta(seconds=5),
    )
    data = acknowledgement.data
    assert isinstance(data, ReplicaEvicted)
    subject = OURS.trust.verify(data.receipt, EVICTION_PREDICATE)["subject"]
    cause = sha256_hex({"replica": "replica-0", "cause": "purge-1"})
    assert subject == [{"name": "replica:replica-0", "digest": {"sha256": cause}}]


async def test_a_redelivery_acknowledges_again_under_the_same_id_and_evicts_nothing(bench: Bench) -> None:
    await bench.fence()
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.EFFECT
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.NOOP_DUPLICATE
    first, second = bench.acknowledgements()
    assert first.id == second.id
    assert bench.receipt().evicted == ()
    assert bench.receipt().local_files_deleted
    assert len(bench.engine.calls) == 4


async def test_an_acknowledgement_that_the_bus_did_not_take_is_made_at_the_redelivery(bench: Bench) -> None:
    await bench.fence()
    bench.publisher.failing = 1
    with pytest.raises(Transient):
        await on_purge_fenced(event(FENCED), bench.ports)
    assert bench.acknowledgements() == []
    await on_purge_fenced(event(FENCED), bench.ports)
    assert len(bench.acknowledgements()) == 1


@pytest.mark.parametrize("left", ["files", "slot"])
async def test_what_is_not_gone_is_not_acknowledged_and_the_event_comes_again(
    bench: Bench, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.fence()
    bench.engine.slots_clear = left != "slot"
    if left == "files":
        monkeypatch.setattr(LoggedFiles, "remove", lambda self, digest: False)
    for _ in range(2):
        with pytest.raises(Transient):
            await on_purge_fenced(event(FENCED), bench.ports)
    assert bench.acknowledgements() == []
    monkeypatch.undo()
    bench.engine.slots_clear = True
    await on_purge_fenced(event(FENCED), bench.ports)
    assert bench.receipt().slots_overwritten
    assert bench.receipt().local_files_deleted
    assert bench.files.held == {FOREIGN}


async def test_a_replica_that_never_held_the_tenant_acknowledges_too(bench: Bench) -> None:
    await bench.onboard(TenantId("t2"), "f" * 64)
    await bench.fence(TenantId("t2"))
    await on_purge_fenced(event(FENCED, TenantId("t2")), bench.ports)
    receipt = bench.receipt()
    assert (receipt.evicted, receipt.tenant) == ((), "t2")
    assert set(receipt.remaining) == {FIRST, SECOND, FOREIGN}


async def test_the_purge_takes_the_receipt_of_the_agent(bench: Bench) -> None:
    """Both sides of the acknowledgement, without anything between them but the event."""
    driver = PurgeReconciler(bench.tenancy, OURS, PurgePolicy(quiesce_seconds=65.0))
    purge = PurgePorts(bench.tenancy, OURS.trust, driver, lambda: None)
    await bench.lease.renew()
    requested = PurgeRequested(purge_id="purge-1", reason_code="churned", requested_by="op")
    assert await on_purge_requested(event(requested), purge) is Outcome.EFFECT
    fenced = next(made for made in bench.publisher.events if isinstance(made.data, PurgeFenced))
    await on_purge_fenced(fenced, bench.ports)
    assert await on_replica_evicted(bench.acknowledgements()[0], purge) is Outcome.EFFECT
    assert await on_replica_evicted(bench.acknowledgements()[0], purge) is Outcome.NOOP_DUPLICATE
    record = await driver.records.read(TENANT, "purge-1")
    assert [(noted.replica_id, noted.outcome) for noted in record.acknowledgements] == [("replica-0", "evicted")]


async def test_once_the_purge_is_over_a_redelivery_still_evicts_and_publishes_nothing(bench: Bench) -> None:
    await bench.fence(status="purged")
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.EFFECT
    assert bench.engine.loaded() == (FOREIGN,)
    assert bench.publisher.events == []
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.NOOP_DUPLICATE


# --- retirement


async def test_a_retired_adapter_is_evicted_and_acknowledged_by_its_digest(bench: Bench) -> None:
    await bench.retire(FIRST)
    assert await on_adapter_retired(event(RETIRED), bench.ports) is Outcome.EFFECT
    assert set(bench.engine.loaded()) == {SECOND, FOREIGN}
    receipt = bench.receipt()
    assert (receipt.cause_id, receipt.evicted, receipt.tenant) == (FIRST, (FIRST,), TENANT)
    assert await bench.views.active(TENANT), "the tenant itself is still served"


async def test_an_adapter_that_was_retired_and_archived_since_is_evicted_and_acknowledged(bench: Bench) -> None:
    await bench.retire(FIRST)
    state = (await bench.tenancy.states.read(TENANT)).state
    store = await bench.tenancy.store(TENANT)
    await store.put_record(object_keys.adapter_record(FIRST), state.adapters[FIRST])
    left = {digest: adapter for digest, adapter in state.adapters.items() if digest != FIRST}
    await bench.tenancy.states.swap(TENANT, lambda state: state.evolve(adapters=left))
    assert await on_adapter_retired(event(RETIRED), bench.ports) is Outcome.EFFECT
    assert bench.receipt().evicted == (FIRST,)


# --- events that the state contradicts


async def served(bench: Bench, tenant: TenantId = TENANT, digest: str = FIRST) -> None:
    """The tenant is admitted, and its adapter is where it was."""
    await bench.views.active(tenant)
    async with bench.placement.held(tenant, digest):
        assert digest in bench.engine.loaded()
    assert bench.engine.calls == []
    assert bench.publisher.events == []


async def other_purge(bench: Bench) -> None:
    await bench.fence(purge=PurgeState(purge_id="purge-2", fenced_at=NOW))


@pytest.mark.parametrize(
    "data",
    [
        FENCED,
        AdapterRetired(adapter_digest=FIRST, reason_code="superseded"),
        AdapterRetired(adapter_digest="9" * 64, reason_code="superseded"),
        AdapterRetired(adapter_digest=FOREIGN, reason_code="superseded"),
    ],
    ids=["a purge of an active tenant", "a retirement of a ready adapter", "of an unknown one", "of another tenant's"],
)
async def test_an_event_that_the_state_contradicts_evicts_nothing_blocks_nothing_and_is_not_signed_for(
    bench: Bench, data: EventData
) -> None:
    assert await HANDLERS[type(data)](event(data), bench.ports) is Outcome.NOOP_STALE
    await served(bench)
    await served(bench, OTHER, FOREIGN)


async def test_the_fence_of_another_purge_than_the_states_is_not_signed_for(bench: Bench) -> None:
    await other_purge(bench)
    assert await on_purge_fenced(event(FENCED), bench.ports) is Outcome.NOOP_STALE
    assert (bench.engine.calls, bench.publisher.events) == ([], [])


async def test_a_purge_of_a_tenant_that_nobody_knows_blocks_nobody_who_is_onboarded_under_its_name(
    bench: Bench,
) -> None:
    newcomer = TenantId("t2")
    assert await on_purge_fenced(event(FENCED, newcomer), bench.ports) is Outcome.NOOP_STALE
    retirement = AdapterRetired(adapter_digest="f" * 64, reason_code="superseded")
    assert await on_adapter_retired(event(retirement, newcomer), bench.ports) is Outcome.NOOP_STALE
    await bench.onboard(newcomer, "f" * 64)
    await bench.views.active(newcomer)
    async with bench.placement.held(newcomer, "f" * 64):
        assert "f" * 64 in bench.engine.loaded()
    assert bench.publisher.events == []


async def test_a_retirement_of_a_fenced_tenants_adapter_is_left_to_the_purge(bench: Bench) -> None:
    await bench.fence()
    assert await on_adapter_retired(event(RETIRED), bench.ports) is Outcome.NOOP_STALE
    assert (bench.engine.calls, bench.publisher.events) == ([], [])


@pytest.mark.parametrize("data", [FENCED, RETIRED], ids=["purge", "retirement"])
async def test_where_the_state_cannot_be_read_nothing_is_done_or_signed_but_no_old_view_is_used(
    bench: Bench, data: EventData
) -> None:
    await bench.active()
    await (bench.fence() if data is FENCED else bench.retire(FIRST))
    bench.objects.reads_fail = True
    with pytest.raises(Transient):
        await HANDLERS[type(data)](event(data), bench.ports)
    assert (bench.engine.calls, bench.publisher.events) == ([], [])
    with pytest.raises(Transient):
        await bench.active()
    bench.objects.reads_fail = False
    assert await HANDLERS[type(data)](event(data), bench.ports) is Outcome.EFFECT
    assert len(bench.acknowledgements()) == 1


@pytest.mark.parametrize("cause", ["purge", "retirement"])
async def test_a_receipt_is_not_of_before_what_it_answers_though_the_replicas_clock_is_behind(
    bench: Bench, cause: str
) -> None:
    await (bench.fence() if cause == "purge" else bench.retire(FIRST))
    bench.now = NOW - timedelta(hours=1)
    await (
        on_purge_fenced(event(FENCED), bench.ports)
        if cause == "purge"
        else on_adapter_retired(event(RETIRED), bench.ports)
    )
    assert bench.receipt().evicted_at == NOW


# --- activation


@pytest.mark.parametrize(
    "data",
    [
        AdapterActivated(adapter_digest=SECOND, previous_digest=FIRST, activation=2),
        AdapterRolledBack(adapter_digest=SECOND, previous_digest=FIRST, activation=2),
    ],
    ids=["activated", "rolled back"],
)
async def test_an_activation_shortens_the_views_life(bench: Bench, data: EventData) -> None:
    assert await bench.active() == FIRST
    await bench.activate(SECOND)
    assert await bench.active() == FIRST, "a view may be as old as its time to live"
    assert await HANDLERS[type(data)](event(data), bench.ports) is Outcome.NOOP_DUPLICATE
    assert await bench.active() == SECOND
    assert bench.engine.calls == [], "nothing is loaded or evicted by it"


THIRD = "9" * 64


async def third_is_ready(bench: Bench, *, canary: bool, retired_since: bool = False) -> AdapterActivated:
    """The activation of an adapter that the replica has not loaded."""

    def changed(state: TenantState) -> TenantState:
        third = state.adapters[FIRST].evolve(status="retired" if retired_since else "ready")
        state = state.evolve(adapters={**state.adapters, THIRD: third})
        if retired_since:
            return state
        if canary:
            return state.evolve(canary=CanaryState(adapter_digest=THIRD, percent=10, activation=1, began_at=NOW))
        return state.evolve(active_adapter=THIRD)

    await bench.tenancy.states.swap(TENANT, changed)
    return AdapterActivated(
        adapter_digest=THIRD, previous_digest=FIRST, activation=2, canary_percent=10 if canary else None
    )


@pytest.mark.parametrize("canary", [False, True])
async def test_a_replica_that_served_the_one_before_loads_the_new_adapter_before_it_switches(
    bench: Bench, canary: bool
) -> None:
    assert await bench.active() == FIRST
    data = await third_is_ready(bench, canary=canary)
    loading = asyncio.Event()
    fetch = bench.files.fetch

    async def slow(tenant: TenantId, digest: str) -> FetchedAdapter:
        assert await bench.active() == FIRST, "the view is the old one as long as the new adapter is loaded"
        loading.set()
        return await fetch(tenant, digest)

    bench.files.fetch = slow  # type: ignore[method-assign]
    assert await on_adapter_activated(event(data), bench.ports) is Outcome.NOOP_DUPLICATE
    assert loading.is_set()
    assert bench.engine.calls == [("load", THIRD)]
    assert TENANT not in bench.views._held


@pytest.mark.parametrize("state", ["news", "old", "full"])
async def test_a_replica_that_never_served_the_tenant_loads_its_adapter_only_where_it_takes_nobodys_place(
    bench: Bench, state: str
) -> None:
    await bench.engine.evict(FIRST, scrub=False)
    bench.engine.calls.clear()
    activated = event(await third_is_ready(bench, canary=False))
    placement = bench.ports.placement
    if state == "full":
        for number in range(4 - len(placement.residency.resident())):
            placement.residency.release(placement.residency.reserve(f"{number}" * 64))
    if state == "old":
        bench.now += timedelta(hours=1)
    await on_adapter_activated(activated, bench.ports)
    assert bench.engine.calls == ([("load", THIRD)] if state == "news" else [])


@pytest.mark.parametrize("trouble", ["retired since", "files that fail", "a store that is down", "fenced since"])
async def test_what_cannot_be_loaded_ahead_does_not_keep_the_view(bench: Bench, trouble: str) -> None:
    assert await bench.active() == FIRST
    data = await third_is_ready(bench, canary=False, retired_since=trouble == "retired since")
    if trouble == "files that fail":

        async def broken(tenant: TenantId, digest: str) -> FetchedAdapter:
            raise NotServable("a file of the adapter is missing")

        bench.files.fetch = broken  # type: ignore[method-assign]
    if trouble == "fenced since":
        await bench.fence()
    bench.objects.reads_fail = trouble == "a store that is down"
    assert await on_adapter_activated(event(data), bench.ports) is Outcome.NOOP_DUPLICATE
    assert bench.engine.calls == []
    assert TENANT not in bench.views._held


async def test_a_view_that_was_being_read_at_the_activation_is_not_kept(bench: Bench) -> None:
    may_go_on = bench.objects.answers_wait = asyncio.Event()
    earlier = asyncio.create_task(bench.active())
    await asyncio.sleep(0)
    bench.objects.answers_wait = None
    await bench.activate(SECOND)
    await on_adapter_activated(
        event(AdapterActivated(adapter_digest=SECOND, previous_digest=FIRST, activation=2)), bench.ports
    )
    may_go_on.set()
    assert await earlier == FIRST, "it began before"
    assert await bench.active() == SECOND


async def test_an_activation_does_not_unblock_a_fenced_tenant(bench: Bench) -> None:
    await bench.fence()
    await on_purge_fenced(event(FENCED), bench.ports)
    activated = AdapterActivated(adapter_digest=SECOND, previous_digest=FIRST, activation=2)
    await on_adapter_activated(event(activated), bench.ports)
    with pytest.raises(RequestRefused):
        await bench.views.active(TENANT)


async def test_a_view_is_read_once_in_its_time_to_live_and_then_again(bench: Bench) -> None:
    now = [0.0]
    views = TenantStateCache(bench.tenancy, 1.0, lambda: now[0])
    bench.objects.reads = 0
    for moment, reads in ((0.0, 1), (0.5, 1), (1.0, 1), (1.1, 2)):
        now[0] = moment
        await views.active(TENANT)
        assert bench.objects.reads == reads
    await bench.tenancy.states.swap(
        TENANT,
        lambda state: state.evolve(status="purging", purge=PurgeState(purge_id="p", fenced_at=NOW)),
    )
    now[0] = 2.2
    with pytest.raises(RequestRefused):
        await views.active(TENANT)
    now[0] = 2.3
    with pytest.raises(RequestRefused):
        await views.active(TENANT)


def test_the_agent_listens_to_what_concerns_replicas() -> None:
    assert {data.type for data in HANDLERS} == {
        "sano.adapter.activated",
        "sano.adapter.rolledback",
        "sano.adapter.retired",
        "sano.purge.fenced",
        "sano.tenant.policy_changed",
    }
    assert {data.topic for data in HANDLERS} == {ADAPTERS, TENANTS}


async def with_policy(bench: Bench, *, keep_resident: bool) -> Outcome:
    """The tenant's policy is changed, and the replica reads the event."""
    policy = TenantPolicy(keep_resident=keep_resident)
    await bench.tenancy.states.swap(TENANT, lambda state: state.evolve(policy=policy, policy_version=2))
    data = PolicyChanged(policy=policy, version=2, requested_by="op-1")
    return await on_policy_changed(event(data), bench.ports)


async def test_a_policy_that_keeps_the_adapter_loads_it_and_one_that_does_not_lets_go_of_it(bench: Bench) -> None:
    await bench.placement.remove_adapter(TENANT, SECOND)
    bench.placement.engine_ended()
    bench.engine.names.clear()
    assert await with_policy(bench, keep_resident=True) is Outcome.NOOP_DUPLICATE
    assert bench.engine.loaded() == (FIRST,)
    assert FIRST in bench.pins
    await with_policy(bench, keep_resident=False)
    assert FIRST not in bench.pins


async def test_a_replica_loads_what_becomes_active_of_a_tenant_whose_adapter_it_keeps(bench: Bench) -> None:
    await with_policy(bench, keep_resident=True)
    bench.engine.names.clear()
    await bench.activate(SECOND)
    await on_adapter_activated(
        event(AdapterActivated(adapter_digest=SECOND, previous_digest=FIRST, activation=1)), bench.ports
    )
    assert bench.engine.loaded() == (SECOND,)


async def test_a_fenced_tenant_keeps_no_pin(bench: Bench) -> None:
    await with_policy(bench, keep_resident=True)
    await bench.fence()
    await on_purge_fenced(event(FENCED), bench.ports)
    assert not bench.pins.holds(TENANT)
    assert await with_policy_of_the_fenced(bench) is Outcome.NOOP_STALE


async def with_policy_of_the_fenced(bench: Bench) -> Outcome:
    data = PolicyChanged(policy=TenantPolicy(keep_resident=True), version=2, requested_by="op-1")
    return await on_policy_changed(event(data), bench.ports)
