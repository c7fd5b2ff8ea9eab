"""The state does not grow with a tenant's past, and nothing of the past is lost by that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from consumers.adapters.handlers import on_adapter_ready
from consumers.export.handlers import ExportPorts, on_export_requested
from consumers.training.handlers import MAX_QUEUED_RUNS, TrainingPorts, on_training_requested
from consumers.training.runner import Runner
from inference.errors import RequestRefused
from inference.tenants.binding import TenantStateCache
from producers.commands import requests
from producers.queries import adapters, tenants
from producers.queries.lineage import lineage
from schemas.bus.envelope import DataT, Event
from schemas.bus.events import AdapterReady, ExportRequested, TrainingRejected, TrainingRequested
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ContendedState, Refused
from tenancy.state.activation import retired
from tenancy.state.archive import KEPT_ADAPTERS, KEPT_RUNS, Archive, surplus_adapters, surplus_runs
from tenancy.state.open_work import announce
from tenancy.state.registry import Change, Snapshot, StateRegistry
from tenancy.storage.cas_record import ATTEMPTS
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, adapters_ports, onboarded_parts, publish_adapter, purge_to_the_end
from tests.world.effects import ObservedObjectStore

TENANT = TenantId("t1")
TRAININGS = KEPT_ADAPTERS + 4


class NoWorkers:
    """A launcher that has no room: what waits, waits."""

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return False

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return False

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        raise AssertionError("nothing was to be started")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def trained(parts: Parts, count: int = TRAININGS) -> list[str]:
    """``count`` trainings, each activated, and what the runner makes of them. Their digests, oldest first."""
    digests = []
    for seed in range(count):
        digests.append(await publish_adapter(parts, TENANT, seed))
        await requests.activate(parts.tenancy, TENANT, digests[-1])
        await look(parts)
    return digests


async def look(parts: Parts) -> None:
    await announce(parts.tenancy.objects, "training", TENANT)  # as what asks for a training does
    await Runner(parts.tenancy, NoWorkers(), Path("/nowhere"), 5.0, 0.0, 0.0).reconcile()


async def state_of(parts: Parts) -> TenantState:
    return (await parts.tenancy.states.read(TENANT)).state


async def archive_of(parts: Parts) -> Archive:
    return Archive(await parts.tenancy.store(TENANT))


def requested(data: DataT) -> Event[DataT]:
    return Event(subject=TENANT, data=data, time=NOW, source="/test")


def ports(parts: Parts) -> TrainingPorts:
    return TrainingPorts(parts.tenancy, lambda: None)


async def test_the_state_of_a_tenant_stops_growing(parts: Parts) -> None:
    await trained(parts, KEPT_ADAPTERS + 2)
    size = len((await parts.tenancy.objects.get(object_keys.state_key(TENANT))).body)
    digests = await trained_further(parts, 20)
    state = await state_of(parts)
    assert len(state.runs) <= KEPT_RUNS and len(state.adapters) <= KEPT_ADAPTERS + 1
    assert set(state.adapter_history) <= set(state.adapters)
    assert state.active_adapter == digests[-1]
    assert len((await parts.tenancy.objects.get(object_keys.state_key(TENANT))).body) < size * 1.1


async def trained_further(parts: Parts, count: int) -> list[str]:
    digests = []
    for seed in range(100, 100 + count):
        digests.append(await publish_adapter(parts, TENANT, seed))
        await requests.activate(parts.tenancy, TENANT, digests[-1])
        await look(parts)
    return digests


async def test_every_run_and_adapter_is_listed_wherever_it_is_kept(parts: Parts) -> None:
    digests = await trained(parts)
    assert digests[0] not in (await state_of(parts)).adapters
    assert [view.run_id for view in await adapters.runs(parts.tenancy, TENANT)] == [
        f"run-{n}" for n in range(TRAININGS)
    ]
    assert [view.digest for view in await adapters.adapters(parts.tenancy, TENANT)] == digests
    view = await tenants.tenant(parts.tenancy, TENANT)
    assert (view.adapters, view.runs) == (TRAININGS, TRAININGS)
    assert await adapters.owner(parts.tenancy, digests[0][:12]) == (TENANT, digests[0])
    assert (await lineage(parts.tenancy, TENANT, digests[0], parts.keys.trust)).run_id == "run-0"


async def test_an_older_adapter_is_served_exported_and_activated_like_any_other(parts: Parts) -> None:
    digests = await trained(parts)
    views = TenantStateCache(parts.tenancy, 0.0)
    assert await views.adapter(TENANT, digests[0], bytes) == digests[0]
    with pytest.raises(RequestRefused):
        await views.adapter(TENANT, "f" * 64, bytes)
    export = ExportRequested(export_id="x1", adapter_digest=digests[0], requested_by="op")
    exporting = ExportPorts(parts.tenancy, parts.keys.trust)
    assert await on_export_requested(requested(export), exporting) == Outcome.EFFECT
    await requests.activate(parts.tenancy, TENANT, digests[0])
    assert (await state_of(parts)).active_adapter == digests[0]
    await look(parts)
    assert (await state_of(parts)).adapters[digests[0]].status == "ready", "the active one stays in the state"
    await requests.rollback(parts.tenancy, TENANT, digests[1])
    assert (await state_of(parts)).active_adapter == digests[1]


async def test_another_tenants_older_adapter_is_no_adapter(parts: Parts) -> None:
    digests = await trained(parts)
    other = TenantId("t10")
    await parts.tenancy.keys.create(other)
    await parts.tenancy.states.create(TenantState(tenant=other, nonce="n"))
    with pytest.raises(RequestRefused) as foreign:
        await TenantStateCache(parts.tenancy, 0.0).adapter(other, digests[0], bytes)
    assert foreign.value.status == 404
    with pytest.raises(Refused, match="no ready adapter"):
        await requests.activate(parts.tenancy, other, digests[0])


async def test_an_event_of_an_archived_run_or_adapter_is_no_news(parts: Parts) -> None:
    digests = await trained(parts)
    await parts.tenancy.outbox.flush(TENANT)
    before = await state_of(parts)
    run = TrainingRequested(run_id="run-0", trigger="operator")
    assert await on_training_requested(requested(run), ports(parts)) == Outcome.NOOP_DUPLICATE
    ready = AdapterReady(adapter_digest=digests[0], run_id="run-0", base_model_digest="a" * 64, size_bytes=1)
    assert await on_adapter_ready(requested(ready), adapters_ports(parts)) == Outcome.NOOP_STALE
    assert await state_of(parts) == before


async def test_a_policy_run_that_waits_covers_the_batches_behind_it(parts: Parts) -> None:
    """A set is frozen at the start of its run, so that a backlog of batches is one training, not hundreds."""
    for batch in range(1, 200):
        event = requested(TrainingRequested(run_id=f"batch-{batch}", trigger="policy"))
        assert await on_training_requested(event, ports(parts)) == Outcome.EFFECT
        assert await on_training_requested(event, ports(parts)) == Outcome.NOOP_DUPLICATE
        await look(parts)
    state = await state_of(parts)
    assert [run_id for run_id, run in state.runs.items() if run.status == "queued"] == ["batch-1"]
    assert len(state.runs) <= KEPT_RUNS + 1
    said = [event.data for event in parts.publisher.events if isinstance(event.data, TrainingRejected)]
    assert {data.run_id for data in said} == {f"batch-{batch}" for batch in range(2, 200)}
    assert {data.reason_code for data in said} == {"covered-by-queued-run"}


async def test_a_policy_run_is_not_covered_by_one_that_has_started(parts: Parts) -> None:
    running = RunState(trigger="policy", status="running", attempts=1, fence=1, requested_at=NOW)
    await parts.tenancy.states.swap(TENANT, lambda state: state.evolve(runs={"batch-1": running}))
    await on_training_requested(requested(TrainingRequested(run_id="batch-2", trigger="policy")), ports(parts))
    assert (await state_of(parts)).runs["batch-2"].status == "queued"


async def test_the_queue_is_bounded_and_says_so(parts: Parts) -> None:
    for number in range(MAX_QUEUED_RUNS + 2):
        run = TrainingRequested(run_id=f"by-hand-{number}", trigger="operator")
        assert await on_training_requested(requested(run), ports(parts)) == Outcome.EFFECT
    runs = (await state_of(parts)).runs
    assert sum(run.status == "queued" for run in runs.values()) == MAX_QUEUED_RUNS
    assert runs[f"by-hand-{MAX_QUEUED_RUNS}"].reason_code == "queue-full"


class _Interrupt(Exception):
    pass


async def test_a_tidying_that_is_cut_off_at_any_effect_loses_nothing(parts: Parts) -> None:
    digests = await trained_without_tidying(parts)
    for position in range(1000):
        cut = CutAt(position)
        observed = ObservedObjectStore(parts.objects, cut)
        store = await parts.tenancy.store(TENANT)
        archive = Archive(type(store)(observed, store.keys))
        try:
            await archive.tidy(StateRegistry(observed, parts.tenancy.clock))
        except _Interrupt:
            assert [view.digest for view in await adapters.adapters(parts.tenancy, TENANT)] == digests
            assert len(await adapters.runs(parts.tenancy, TENANT)) == TRAININGS
            continue
        break
    assert position > 5, "several effects were cut off"
    assert len((await state_of(parts)).adapters) == KEPT_ADAPTERS + 1
    assert [view.digest for view in await adapters.adapters(parts.tenancy, TENANT)] == digests


class CutAt:
    """Lets ``position`` effects happen, and none after them."""

    def __init__(self, position: int) -> None:
        self.left = position

    def before(self, effect: str) -> None:
        if self.left == 0:
            raise _Interrupt
        self.left -= 1

    def after(self, effect: str) -> None:
        return None


async def trained_without_tidying(parts: Parts) -> list[str]:
    digests = [await publish_adapter(parts, TENANT, seed) for seed in range(TRAININGS)]
    await requests.activate(parts.tenancy, TENANT, digests[-1])
    return digests


async def test_an_adapter_that_changes_while_it_is_moved_is_not_moved_as_it_was(parts: Parts) -> None:
    """Between the record and the swap the adapter is retired: the state's word must win."""
    digests = await trained_without_tidying(parts)
    archive = await archive_of(parts)
    states = parts.tenancy.states

    class RetiredMeanwhile(StateRegistry):
        async def swap(self, tenant: TenantId, change: Change, *, base: Snapshot | None = None) -> Snapshot:
            await states.swap(TENANT, _retired(digests[0]))
            return await states.swap(tenant, change, base=base)

    await archive.tidy(RetiredMeanwhile(states.objects, states.clock))
    assert (await state_of(parts)).adapters[digests[0]].status == "retired"
    await archive.tidy(states)
    assert digests[0] not in (await state_of(parts)).adapters
    kept = await archive.adapter(digests[0])
    assert kept is not None and kept.status == "retired"


def _retired(digest: str) -> Change:
    def change(state: TenantState) -> TenantState:
        retired = state.adapters[digest].evolve(status="retired")
        return state.evolve(adapters={**state.adapters, digest: retired})

    return change


async def test_an_adapter_that_rollbacks_come_to_return_to_while_it_is_moved_stays(parts: Parts) -> None:
    """Between the record and the swap the active one gives way to another, and is what a rollback returns to."""
    digests = [await publish_adapter(parts, TENANT, seed) for seed in range(TRAININGS)]
    await requests.activate(parts.tenancy, TENANT, digests[1])
    states = parts.tenancy.states

    class ActivatedMeanwhile(StateRegistry):
        async def swap(self, tenant: TenantId, change: Change, *, base: Snapshot | None = None) -> Snapshot:
            for digest in (digests[0], digests[-1]):
                await requests.activate(parts.tenancy, TENANT, digest)
            return await states.swap(tenant, change, base=base)

    await (await archive_of(parts)).tidy(ActivatedMeanwhile(states.objects, states.clock))
    assert (await requests.rollback(parts.tenancy, TENANT)).digest == digests[0]


async def test_a_late_tidying_does_not_bring_an_old_record_back(parts: Parts) -> None:
    """One process is about to write a record while another has moved the same adapter, retired meanwhile."""
    digests = await trained_without_tidying(parts)
    states = parts.tenancy.states
    store = await parts.tenancy.store(TENANT)
    key = object_keys.tenant_key(TENANT, object_keys.adapter_record(digests[0]))

    class Overtaken(MemoryObjectStore):
        """Before the slow process writes the record, the other one retires and moves the adapter."""

        def __init__(self) -> None:
            super().__init__(parts.objects.objects)
            self.is_overtaken = False

        async def put(self, name: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
            if name == key and not self.is_overtaken:
                self.is_overtaken = True
                await states.swap(TENANT, _retired(digests[0]))
                await Archive(store).tidy(states)
            return await super().put(name, body, if_absent=if_absent, if_match=if_match)

    slow = Overtaken()
    await Archive(type(store)(slow, store.keys)).tidy(StateRegistry(slow, states.clock))
    kept = await Archive(store).adapter(digests[0])
    assert kept is not None and kept.status == "retired"
    assert digests[0] not in (await state_of(parts)).adapters


async def test_nothing_is_archived_for_a_purged_tenant(parts: Parts) -> None:
    await trained_without_tidying(parts)
    archive = await archive_of(parts)
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    assert not await archive.tidy(parts.tenancy.states)
    assert parts.stored_keys(object_keys.tenant_prefix(TENANT)) == []


def test_the_kept_ones_are_the_latest() -> None:
    runs = {
        f"r{number}": RunState(status="completed", requested_at=NOW + timedelta(minutes=number))
        for number in range(KEPT_RUNS + 3)
    }
    adapters = {
        f"{number:064x}": AdapterState(
            status="ready",
            run_id="r",
            fence=1 + number,
            training_set_id="b" * 64,
            base_model_digest="a" * 64,
            size_bytes=1,
            published_at=NOW - timedelta(minutes=number),
        )
        for number in range(KEPT_ADAPTERS + 3)
    }
    active = f"{0:064x}"
    state = TenantState(tenant=TENANT, nonce="n", runs=runs, adapters=adapters, active_adapter=active)
    assert surplus_runs(state) == ["r0", "r1", "r2"]
    assert surplus_adapters(state) == [f"{number:064x}" for number in (1, 2)]


async def test_an_older_adapter_that_a_rollback_returns_to_stays_until_it_does(parts: Parts) -> None:
    digests = [await publish_adapter(parts, TENANT, seed) for seed in range(TRAININGS)]
    for digest in (digests[0], digests[1], digests[-1]):
        await requests.activate(parts.tenancy, TENANT, digest)
    for expected in (digests[1], digests[0], None):
        await look(parts)
        assert (await requests.rollback(parts.tenancy, TENANT)).digest == expected
    await look(parts)
    assert len((await state_of(parts)).adapters) == KEPT_ADAPTERS


async def test_from_an_archived_adapter_a_rollback_goes_no_way_forward(parts: Parts) -> None:
    digests = await trained(parts)
    assert (await requests.rollback(parts.tenancy, TENANT, digests[1])).digest == digests[1]
    assert (await requests.rollback(parts.tenancy, TENANT)).digest is None


class Between:
    """Does something after each reading of an adapter's record, before who read it goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, does: Callable[[], Awaitable[None]], times: int) -> None:
        read = Archive.adapter

        async def slow(archive: Archive, digest: str) -> AdapterState | None:
            found = await read(archive, digest)
            self.left -= 1
            if self.left >= 0:
                await does()
            return found

        self.left = times
        monkeypatch.setattr(Archive, "adapter", slow)


COMMANDS = pytest.mark.parametrize("command", [requests.activate, requests.rollback])
Command = Callable[[Tenancy, TenantId, str], Awaitable[requests.ActiveAdapter]]


@COMMANDS
async def test_an_adapter_that_is_retired_while_a_command_reads_the_archive_stays_retired(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    old, *_, active = await trained(parts)
    archive = await archive_of(parts)
    known = await archive.adapter(old)
    assert known is not None

    async def retires() -> None:
        await parts.tenancy.outbox.swap(TENANT, retired({old: known}, "withdrawn", parts.tenancy.outbox.entry))
        assert await archive.tidy(parts.tenancy.states)
        assert old not in (await state_of(parts)).adapters

    Between(monkeypatch, retires, 1)
    with pytest.raises(Refused, match="no ready adapter"):
        await command(parts.tenancy, TENANT, old)
    state = await state_of(parts)
    assert (state.active_adapter, old in state.adapters) == (active, False)
    kept = await archive.adapter(old)
    assert kept is not None
    assert kept.status == "retired"


@COMMANDS
async def test_a_command_that_names_an_archived_adapter_is_carried_out_beside_swaps_of_others_but_not_for_ever(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    old, *_, active = await trained(parts)

    async def swaps() -> None:
        await parts.tenancy.states.swap(TENANT, lambda state: state.model_copy())

    with monkeypatch.context() as patched:
        Between(patched, swaps, ATTEMPTS)
        with pytest.raises(ContendedState):
            await command(parts.tenancy, TENANT, old)
    assert (await state_of(parts)).active_adapter == active
    Between(monkeypatch, swaps, 3)
    assert await command(parts.tenancy, TENANT, old) == requests.ActiveAdapter(old, Outcome.EFFECT)
    assert (await state_of(parts)).active_adapter == old
