"""Invariant 5, fenced for ever: after the fence nothing can create data for the tenant."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.curation.handlers import on_consent_granted, on_example_approved
from consumers.export.handlers import ExportPorts, on_export_requested
from consumers.ledger.audit import on_audited
from consumers.ledger.handlers import on_usage_recorded
from consumers.ledger.ports import LedgerPorts
from consumers.purge.handlers import on_purge_requested
from consumers.training.freeze import candidates
from consumers.training.handlers import TrainingPorts, on_training_requested
from consumers.training.publication import Publication
from consumers.training.result import TrainingResult
from consumers.training.worker import Worker
from producers.commands import requests
from producers.commands.onboarding import onboard
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from producers.sources.importing import import_approvals
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.evidence.audit import UNLINKABLE
from schemas.evidence.statements import TRAINING_PREDICATE, TrainingManifest
from schemas.objects import object_keys
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, LeaseLost, ObjectNotFound, Refused, TenantFenced
from tenancy.state.leases import Lease, Leases
from tests.fixtures.examples import examples
from tests.fixtures.gates import gate_of_tests
from tests.invariants.stepping import Process, Scene, Writer, places, stepped
from tests.invariants.worlds import REFUSED_AFTER_A_PURGE, Pair, assert_purged, event, frozen, purged, samples, service
from tests.invariants.writers import LATE_WRITERS
from tests.world.summary import audited
from tests.world.world import LEASE_SECONDS, POLICY, PURGE, QUIESCE_SECONDS


async def test_fenced_after_a_purge_no_event_of_any_type_creates_anything(pair: Pair) -> None:
    world = pair.world
    approval = await world.approval(pair.one, "e50x")
    await purged(world, pair.one)
    before, known = frozen(world), len((await read_copy(world.outside, pair.one)).entries)
    made = samples(world, pair.one, pair.digest, approval)
    handled = {kind for found in world.services for kind in found.handlers}
    assert {type(data) for data in made} == handled, "a new handler needs a sample here"
    world.outcomes.clear()
    for found in world.services:
        for data in made:
            await world.handle(found, event(pair.one, data, world))
    refused = {(name, kind) for name, kind, outcome in world.outcomes if outcome is Outcome.REFUSED_PURGED}
    noted = {kind for name, kind in refused if name == "ledger"}
    assert {kind for name, kind in refused if name != "ledger"} | {"sano.usage.recorded"} == REFUSED_AFTER_A_PURGE
    # The audit log notes what came too late, and refuses it too; the adapter's event it has from before.
    assert noted >= REFUSED_AFTER_A_PURGE - {"sano.adapter.ready"}
    assert [entry for entry in world.outcomes if entry[2] is Outcome.EFFECT] == []
    assert _beside_the_audit_log(frozen(world)) == _beside_the_audit_log(before)
    await world.settle()
    await assert_purged(world, pair.one)
    assert frozen(world, pair.other) == {key: ids for key, ids in before.items() if f"/{pair.other}/" in key}
    entries = entries_of(await read_copy(world.outside, pair.one))
    assert len(entries) > known
    late = [entry for entry in entries[known:] if entry.kind.startswith(("example.", "consent."))]
    named = [entry.facts[name] for entry in late for name in ("example", "consent") if name in entry.facts]
    assert named == [UNLINKABLE] * 10
    assert {entry.recorded_while for entry in entries[known:]} == {"purged"}
    assert (await audited(world, pair.one))["problems"] == ()


def _beside_the_audit_log(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """The audit log holds no content and outlives a purge: it alone notes what came after one."""
    return {key: ids for key, ids in found.items() if not key.startswith(object_keys.AUDIT_PREFIX)}


@pytest.mark.parametrize("status", ["purging", "purged"])
async def test_fenced_no_command_and_no_writer_that_kept_its_handles_creates_anything(
    pair: Pair, tmp_path: Path, status: str
) -> None:
    world, tenant = pair.world, pair.one
    tenancy = world.tenancy
    store = await tenancy.store(tenant)  # with the data key, from before the fence
    leases = Leases(store, tenancy.outbox, "late", world.clock, LEASE_SECONDS)
    envelope = json.loads((await store.get(object_keys.adapter(pair.digest, object_keys.ADAPTER_MANIFEST)))[0])
    signed = world.keys.trust.verify(envelope, TRAINING_PREDICATE)
    manifest = read_tolerant(TrainingManifest, signed["predicate"])
    await world.handle(
        service(world, "training"),
        event(tenant, events.TrainingRequested(run_id="late", trigger="operator"), world),
    )
    lease = await leases.acquire("late")
    if status == "purged":
        await purged(world, tenant)
    else:
        requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        await on_purge_requested(event(tenant, requested, world), service(world, "purge").ports)
    lines = tmp_path / "approvals.jsonl"
    message = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    lines.write_text(json.dumps({"messages": message, "reviewer": "rev-1", "consent": "consent-1"}) + "\n")
    publication = Publication(tenancy, store)
    worker = Worker(tenancy, store, world.keys.manifest, world.trainer, gate_of_tests, leases, tmp_path)
    writers: dict[str, Callable[[], Awaitable[Any]]] = {
        "onboard": lambda: onboard(tenancy, tenant, POLICY),
        "onboard with another policy": lambda: onboard(tenancy, tenant),
        "import": lambda: import_approvals(lines, tenant, tenancy, gate_of_tests),
        "request training": lambda: requests.request_training(tenancy, tenant),
        "request export": lambda: requests.request_export(tenancy, tenant, requested_by="op", digest=pair.digest),
        "activate": lambda: requests.activate(tenancy, tenant, pair.digest),
        "roll back": lambda: requests.rollback(tenancy, tenant, None),
        "acquire": lambda: leases.acquire("late"),
        "renew": lambda: leases.renew(lease),
        "attempt": lambda: worker.attempt("late"),
        "publish": lambda: publication.publish(manifest, None),
        "reject": lambda: publication.reject("late", lease.record.fence, "late"),
        "fail": lambda: publication.fail("late", lease.record.fence, "late"),
        "give back": lambda: publication.give_back("late", lease.record.fence),
    }
    before = frozen(world)
    for name, write in writers.items():
        with pytest.raises((TenantFenced, LeaseLost, KeyDestroyed, ObjectNotFound)):
            await write()
        assert frozen(world) == before, name
    # These look first and find nothing to do.
    await publication.promote("batch-1", tmp_path)
    await world.runner.reconcile()
    marker = object_keys.open_work("training", tenant)
    before = {key: ids for key, ids in before.items() if key != marker}  # the runner removes it: nothing is left to do
    assert world.pending == []
    assert (
        await world.outside.states.create((await world.state(pair.other)).evolve(tenant=tenant))
    ).state.status == status
    assert frozen(world) == before
    if status == "purged":
        with pytest.raises(Refused):
            await candidates(store, POLICY, world.now)
        assert frozen(world) == before


async def _work(scene: Scene, tenancy: Tenancy) -> None:
    store = await tenancy.store(scene.tenant)
    leases = Leases(store, tenancy.outbox, "worker", scene.world.clock, LEASE_SECONDS)
    await Worker(
        tenancy, store, scene.world.keys.manifest, scene.world.trainer, gate_of_tests, leases, scene.scratch
    ).attempt("run-2")


def _ledger(scene: Scene, tenancy: Tenancy) -> LedgerPorts:
    return LedgerPorts(tenancy, Checkpointer(tenancy.audit, scene.world.keys), 1)


WRITERS: dict[str, Writer] = {
    "worker": _work,
    "approval": lambda scene, tenancy: on_example_approved(scene.event(scene.approval), tenancy),
    "consent": lambda scene, tenancy: on_consent_granted(
        scene.event(events.ConsentGranted(consent_id="consent-7", version=1)), tenancy
    ),
    "intake": lambda scene, tenancy: on_training_requested(
        scene.event(events.TrainingRequested(run_id="run-3", trigger="operator")), TrainingPorts(tenancy, lambda: None)
    ),
    "export": lambda scene, tenancy: on_export_requested(
        scene.event(events.ExportRequested(export_id="x9", requested_by="op")),
        ExportPorts(tenancy, scene.world.keys.trust),
    ),
    "usage": lambda scene, tenancy: on_usage_recorded(
        scene.event(events.UsageRecorded(usage_id="u9", source="inference", prompt_tokens=1)), _ledger(scene, tenancy)
    ),
    "audit": lambda scene, tenancy: on_audited(scene.event(scene.approval), _ledger(scene, tenancy)),
    "roll back": lambda scene, tenancy: requests.rollback(tenancy, scene.tenant),
    "onboard": lambda scene, tenancy: onboard(tenancy, scene.tenant, POLICY),
    **LATE_WRITERS,
}


@pytest.mark.spread
@pytest.mark.parametrize("name", WRITERS)
async def test_fenced_a_writer_that_meets_a_purge_between_any_two_effects_of_both_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene.made(tmp_path)
    alone, purge = await scene.meet(WRITERS[name], [("writer", 1000)])
    assert alone.effects
    assert len(purge.effects) > 6
    assert name != "worker" or len(alone.effects) > 12
    for done in places(alone.effects):
        for purge_done in places(purge.effects):
            await scene.meet(WRITERS[name], [("writer", done), ("purge", purge_done)])


@pytest.mark.spread
@pytest.mark.parametrize("name", ["worker", "export"])
async def test_fenced_a_writer_that_meets_a_purge_that_hands_the_adapter_over_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene.made(tmp_path, right_of_export=True)
    alone, purge = await scene.meet(WRITERS[name], [("writer", 1000)])
    assert "publish sano.export.ready" in purge.effects
    written = [effect for effect in purge.effects if effect.startswith(f"put tenants/{scene.tenant}/")]
    assert {effect.split("/")[2] for effect in written} == {"exports"}, "the purge writes an export and nothing else"
    for done in places(alone.effects):
        for purge_done in places(purge.effects):
            await scene.meet(WRITERS[name], [("writer", done), ("purge", purge_done)])


@pytest.mark.spread
@pytest.mark.parametrize("seconds", [10.0, LEASE_SECONDS, 600.0])
async def test_fenced_the_second_listing_comes_after_the_longest_lease_whenever_that_was_renewed(
    seconds: float, tmp_path: Path
) -> None:
    """A worker of another configuration has a lease longer than all that the purge knows by its own settings."""
    scene = await Scene.made(tmp_path)
    world, tenant = scene.world, scene.tenant
    margin = timedelta(seconds=PURGE.late_write_seconds)
    alone = Process()
    await alone.start(scene.purge(stepped(world, alone)))
    await alone.go()
    lost = set()
    for purge_done in places(alone.effects):
        scene.again()
        started = world.now
        store = await world.outside.store(tenant)
        lease = await Leases(store, world.outside.outbox, "long", world.clock, seconds).acquire("run-2")
        world.now += timedelta(seconds=seconds - 1)
        renewal, purge = Process(), Process()
        held = stepped(world, renewal)
        leases = Leases(await held.store(tenant), held.outbox, "long", world.clock, seconds)
        ends_at = lease.record.expires_at

        async def renewed(leases: Leases = leases, lease: Lease = lease) -> datetime | None:
            try:
                return (await leases.renew(lease)).record.expires_at
            except LeaseLost:
                return None

        await renewal.start(renewed())  # it has read the state, and is about to write
        await purge.start(scene.purge(stepped(world, purge)))
        await purge.go(purge_done)
        await renewal.go()
        ends_at = renewal.result() or ends_at
        lost.add(renewal.result() is None)
        await purge.go()
        record = await world.driver.records.read(tenant, "p1")
        assert record.quiesced_at is not None
        assert record.quiesced_at >= ends_at + margin, purge_done
        assert record.longest_lease_seconds == max(seconds, LEASE_SECONDS), "the other run's lease is an ordinary one"
        # The last write of the holder of that lease, in the last moment in which it can come.
        world.now = ends_at + margin - timedelta(seconds=1)
        await world.driver.reconcile()
        late = object_keys.tenant_key(tenant, object_keys.staging("run-2", lease.record.fence, "late"))
        await world.memory.put(late, b"sealed under a key that is gone")
        for _ in range(3):
            world.now += timedelta(seconds=2 * QUIESCE_SECONDS + seconds)
            await world.driver.reconcile()
        await assert_purged(world, tenant)
        swept_late = (await world.driver.records.read(tenant, "p1")).late
        assert [(count.store, count.versions) for count in swept_late if count.store == "objects.staging"] == [
            ("objects.staging", 1)
        ]
        world.now = started
    assert lost == {False, True}


async def test_fenced_a_worker_that_lost_its_lease_while_it_trained_uploads_nothing(tmp_path: Path) -> None:
    scene = await Scene.made(tmp_path)
    world = scene.world
    store = await world.outside.store(scene.tenant)
    leases = Leases(store, world.outside.outbox, "worker", world.clock, LEASE_SECONDS)
    worker = Worker(world.outside, store, world.keys.manifest, world.trainer, gate_of_tests, leases, tmp_path)
    train = world.trainer.train

    def outlived(*arguments: Any) -> TrainingResult:
        result = train(*arguments)
        worker.stop.set()  # as the renewal does that finds the lease lost
        return result

    world.trainer.train = outlived  # type: ignore[method-assign, assignment]
    with pytest.raises(LeaseLost):
        await worker.attempt("run-2")
    staging = object_keys.tenant_area(scene.tenant, "staging")
    assert [key for key in world.memory.objects if key.startswith(staging)] == []


@examples(10)
@given(
    st.sampled_from(["worker", "export", "approval"]),
    st.lists(st.tuples(st.sampled_from(["writer", "purge"]), st.integers(1, 4)), max_size=12),
)
def test_fenced_in_any_order_of_turns_a_writer_and_a_purge_leave_nothing(
    name: str, schedule: list[tuple[str, int]]
) -> None:
    async def met() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            scene = await Scene.made(Path(scratch))
            await scene.meet(WRITERS[name], schedule)

    asyncio.run(met())
