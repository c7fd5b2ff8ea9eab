"""Each run makes an adapter of its own, and leaves nothing staged however it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.runtime.poison import REFUSED_US
from consumers.training.result import TrainingDiverged
from schemas.bus import events
from schemas.models.adapter_files import AdapterRefused
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import AuditBroken, ObjectNotFound, Refused
from tenancy.state.open_work import announce
from tenancy.state.rounds import ROUND
from tenancy.storage.objects import erase_prefix
from tenancy.tenant_id import TenantId
from tests.fixtures.noting_store import NotingStore
from tests.world.crashes import CrashAt, SimulatedCrash
from tests.world.world import LEASE_SECONDS, QUIESCE_SECONDS, START, World

EXAMPLES = 4


async def tenant_of(world: World, **policy: object) -> TenantId:
    """A tenant with four approved examples; e3 is under a consent of its own."""
    held = TenantPolicy.model_validate({"min_new_examples": EXAMPLES, "min_training_examples": 2, **policy})
    tenant = await world.onboard("t1", held)
    for consent in ("consent-1", "consent-2"):
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    for number in range(EXAMPLES):
        consent = "consent-2" if number == EXAMPLES - 1 else "consent-1"
        await world.publish(tenant, await world.approval(tenant, f"e{number}", consent=consent))
    return tenant


async def trained(world: World, tenant: TenantId, run_id: str) -> str:
    """The digest of one more run's adapter."""
    world.now += timedelta(hours=1)
    await world.publish(tenant, events.TrainingRequested(run_id=run_id, trigger="operator"))
    await world.settle()
    run = (await world.state(tenant)).runs[run_id]
    assert run.status == "completed" and run.adapter_digest is not None
    return run.adapter_digest


def staged(world: World) -> list[str]:
    return [key for key in world.memory.objects if "/staging/" in key]


async def weights_of(world: World, tenant: TenantId, digest: str) -> bytes:
    store = await world.outside.store(tenant)
    return (await store.get(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)))[0]


# --- an adapter for each run


async def test_consent_that_is_granted_again_is_trained_on_and_served_again(tmp_path: Path) -> None:
    """The same examples give the same weights. A receipt says that the first adapter's are erased, and stays true."""
    world = World(tmp_path)
    tenant = await tenant_of(world, on_withdrawal="stop")
    await world.settle()
    first = (await world.state(tenant)).active_adapter
    assert first is not None
    weights = await weights_of(world, tenant, first)
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=2))
    await world.settle()
    world.now += timedelta(hours=1)
    await world.settle()
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[first].status) == (None, "retired")

    await world.publish(tenant, events.ConsentGranted(consent_id="consent-2", version=3))
    await world.settle()
    again = await trained(world, tenant, "again")
    state = await world.state(tenant)
    assert again != first and state.active_adapter == again
    assert (state.adapters[first].status, state.adapters[again].status) == ("retired", "ready")
    assert await weights_of(world, tenant, again) == weights
    with pytest.raises(ObjectNotFound):
        await weights_of(world, tenant, first)
    async with world.placement.held(tenant, again):
        assert list(world.engine.names) == [again]

    # Redelivered from the start, the retired one does not come back and the served one stays.
    world.rewind_all()
    await world.settle()
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[first].status) == (again, "retired")
    with pytest.raises(ObjectNotFound):
        await weights_of(world, tenant, first)


async def test_a_withdrawal_that_leads_back_to_an_earlier_set_is_over_once_it_was_trained_again(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.settle()
    earlier = await trained(world, tenant, "r1")
    await world.publish(tenant, await world.approval(tenant, "e9"))
    await world.settle()
    withdrawn = await trained(world, tenant, "r2")
    assert (await world.state(tenant)).active_adapter == withdrawn
    before = world.now
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e9", reason_code="patient-request"))
    await world.settle()
    state = await world.state(tenant)
    assert world.now - before < timedelta(days=1), "it was not the deadline that ended it"
    assert state.active_adapter not in (None, earlier, withdrawn)
    assert (state.adapters[withdrawn].status, state.adapters[earlier].status) == ("retired", "ready")


async def test_training_twice_on_the_same_examples_serves_what_was_trained_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.settle()
    first = await trained(world, tenant, "r1")
    second = await trained(world, tenant, "r2")
    assert (await world.state(tenant)).active_adapter == second
    assert second != first and await weights_of(world, tenant, second) == await weights_of(world, tenant, first)


# --- what ends a run and what is tried again


@pytest.mark.parametrize("code", sorted(REFUSED_US))
async def test_an_attempt_that_store_kms_or_bus_refuses_is_made_again(tmp_path: Path, code: str) -> None:
    """Somebody may put it right. The batch is used up, and nobody would ask for this training again."""
    world = World(tmp_path)
    tenant = await tenant_of(world)
    while await world.deliver():
        pass
    world.trainer.fails = Refused(code, "refused: it answered 403")
    await (await world.worker(tenant)).attempt("batch-1")
    run = (await world.state(tenant)).runs["batch-1"]
    assert (run.status, run.attempts) == ("queued", 1)
    world.trainer.fails = None
    await world.settle()
    assert (await world.state(tenant)).runs["batch-1"].status == "completed"


async def test_a_run_whose_every_attempt_is_refused_by_the_store_failed_under_that_code(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.trainer.fails = Refused("object-store-refused", "refused: it answered 403")
    assert await ended(world, await tenant_of(world)) == ("failed", "object-store-refused")


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (AuditBroken("an entry"), "audit-broken"),
        (TrainingDiverged(3), "training-diverged"),
        (AdapterRefused("an infinity"), "adapter-refused"),
    ],
    ids=str,
)
async def test_what_no_other_attempt_would_change_ends_the_run_at_once(
    tmp_path: Path, refusal: Exception, reason: str
) -> None:
    world = World(tmp_path)
    world.trainer.fails = refusal
    tenant = await tenant_of(world)
    assert await ended(world, tenant) == ("rejected", reason)
    assert (await world.state(tenant)).runs["batch-1"].attempts == 1


class _InactiveRpcError(Exception):
    """As grpc calls one of its own."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_InactiveRpcError(), "inactive-rpc-error"),
        (type("HTTP2_Error", (Exception,), {})(), "h-t-t-p2-error"),
        (type("__", (Exception,), {})(), "error"),
        (type("Störung", (Exception,), {})(), "st-rung"),
        (type("E" + "x" * 62 + "Yz", (Exception,), {})(), "e" + "x" * 62),
    ],
)
async def test_whatever_an_error_is_called_the_run_fails_under_a_code_that_its_event_may_carry(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    world = World(tmp_path)
    world.trainer.fails = error
    assert await ended(world, await tenant_of(world)) == ("failed", reason)


# --- nothing stays in staging


class AfterStaging(CrashAt):
    """Ends every attempt right after its last staged file, in some way."""

    def __init__(self, end: Callable[[], BaseException]) -> None:
        super().__init__()
        self.end: Callable[[], BaseException] | None = end
        self.files = 0

    def after(self, effect: str) -> None:
        if effect == "put:staging" and self.end is not None:
            self.files += 1
            if self.files % len(object_keys.ADAPTER_FILES) == 0:
                raise self.end()


async def ended(world: World, tenant: TenantId) -> tuple[str, str | None]:
    """How the tenant's run ended, leases running out in between."""
    for _ in range(8):
        await world.settle()
        world.now += timedelta(seconds=4 * LEASE_SECONDS)
    run = (await world.state(tenant)).runs["batch-1"]
    return run.status, run.reason_code


@pytest.mark.parametrize(
    ("end", "reason"),
    [(lambda: SimulatedCrash("staged"), "worker-died"), (lambda: OSError("disk"), "o-s-error")],
    ids=["killed", "failed"],
)
async def test_a_run_that_fails_leaves_nothing_staged(
    tmp_path: Path, end: Callable[[], BaseException], reason: str
) -> None:
    world = World(tmp_path, AfterStaging(end))
    tenant = await tenant_of(world)
    assert await ended(world, tenant) == ("failed", reason)
    assert staged(world) == []


@pytest.mark.parametrize("end", [lambda: SimulatedCrash("staged"), lambda: OSError("disk")], ids=["killed", "failed"])
async def test_a_crash_between_the_end_of_a_run_and_the_erasure_leaves_nothing_staged(
    tmp_path: Path, end: Callable[[], BaseException]
) -> None:
    class ThenOnceMore(AfterStaging):
        def before(self, effect: str, process: str = "") -> None:
            super().before(effect, process)
            # The third attempt's: the first two leave the run open.
            if effect == "erase:staging" and self.files == 9 and not self.has_crashed:
                self.has_crashed = True
                raise SimulatedCrash(effect)

    crash = ThenOnceMore(end)
    world = World(tmp_path, crash)
    tenant = await tenant_of(world)
    assert (await ended(world, tenant))[0] == "failed"
    assert crash.has_crashed and staged(world) == []


async def test_a_run_that_is_rejected_leaves_nothing_staged_of_its_earlier_attempts(tmp_path: Path) -> None:
    crash = AfterStaging(lambda: SimulatedCrash("staged"))
    world = World(tmp_path, crash)
    tenant = await tenant_of(world)
    while not crash.files:
        await world.step()
    crash.end = None
    assert staged(world)
    for number in range(EXAMPLES - 1):
        withdrawn = events.ExampleWithdrawn(example_id=f"e{number}", reason_code="patient-request")
        await world.publish(tenant, withdrawn)
    assert await ended(world, tenant) == ("rejected", "too-few-examples")
    assert staged(world) == []


async def test_what_a_worker_wrote_after_its_run_ended_is_erased_within_the_hour(tmp_path: Path) -> None:
    """It lost its lease, wrote one more file, and was killed before it could erase it."""
    world = World(tmp_path)
    tenant = await tenant_of(world)
    await world.settle()
    await world.runner.sweep()
    store = await world.outside.store(tenant)
    await store.put(object_keys.staging("batch-1", 1, object_keys.ADAPTER_WEIGHTS), b"late")
    await store.put(object_keys.staging("archived-run", 1, object_keys.ADAPTER_WEIGHTS), b"late")
    await world.runner.reconcile()
    await world.runner.sweep()
    assert len(staged(world)) == 2, "a listing for each tenant at each look would cost more than it finds"
    world.now += ROUND
    await world.runner.sweep()
    assert staged(world) == []


async def test_what_a_living_attempt_has_staged_is_left_to_it(tmp_path: Path) -> None:
    crash = AfterStaging(lambda: SimulatedCrash("staged"))
    world = World(tmp_path, crash)
    await tenant_of(world)
    while not crash.files:
        await world.step()
    await world.runner.reconcile()
    await world.runner.sweep()
    assert len(staged(world)) == len(object_keys.ADAPTER_FILES)


# --- what a look costs and remembers


@pytest.mark.parametrize("kind", object_keys.WORK_OF_THE_LIVING)
async def test_a_look_reads_no_tenant_for_which_there_is_nothing_to_do(
    kind: object_keys.WorkKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.world.world.MemoryObjectStore", NotingStore)
    world = World(tmp_path)
    assert isinstance(world.memory, NotingStore)
    look = {
        "training": world.runner.reconcile,
        "withdrawals": world.withdrawals.reconcile,
        "rescans": world.rescans.reconcile,
    }[kind]
    busy, idle = await world.onboard("busy"), await world.onboard("idle")
    for tenant in (busy, idle):
        await announce(world.outside.objects, kind, tenant)
    await look()
    world.now += timedelta(seconds=QUIESCE_SECONDS)
    await announce(world.outside.objects, kind, busy)
    world.memory.keys_read.clear()
    await look()
    assert {object_keys.state_key(busy), object_keys.state_key(idle)} <= set(world.memory.keys_read)
    world.memory.keys_read.clear()
    await look()
    assert object_keys.state_key(busy) in world.memory.keys_read
    assert {key for key in world.memory.keys_read if not key.startswith(object_keys.registry_prefix(busy))} == set()


async def test_the_round_announces_work_that_lost_its_marker(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    await world.settle()
    await world.publish(tenant, events.TrainingRequested(run_id="r2", trigger="operator"))
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
    while await world.deliver():
        pass
    for kind in object_keys.WORK_OF_THE_LIVING:
        await erase_prefix(world.memory, object_keys.open_work_prefix(kind))
    await world.runner.reconcile()
    await world.withdrawals.reconcile()
    assert world.pending == []
    await world.runner.sweep()
    await world.withdrawals.sweep()
    for kind in ("training", "withdrawals"):
        assert await world.memory.exists(object_keys.open_work(kind, tenant))
    await world.runner.reconcile()
    assert world.pending == [(tenant, "r2")]


async def test_the_runner_remembers_nothing_of_runs_that_ended_and_tenants_that_left(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    await world.settle()
    await trained(world, tenant, "r2")
    assert world.runner._not_before == {}
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    await world.publish(tenant, requested)
    await world.settle()
    assert (await world.state(tenant)).status != "active" and world.now > START
    assert world.runner._work._seen == {}
