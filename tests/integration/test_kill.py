"""kill -9 of each consumer and of the worker at its effects, on real Kafka and a real S3 API.

``tests/invariants/test_crash_points.py`` kills simulated processes at effects of every kind. Here each process is hit
by a real SIGKILL at some of them, and what Kafka and S3 make of it is seen.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consumers.training.handlers import TrainingPorts, on_training_requested
from schemas.bus import events
from schemas.bus.content import CommittedDocument, DocumentBlock, DocumentContent, InlineContent
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.objects.state import TenantState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound
from tenancy.knowledge.published import read_segment, read_set
from tenancy.knowledge.segments import unpacked
from tenancy.lifecycle.exports import EXPORT_FILES
from tenancy.state.leases import Leases
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tests.fixtures.history import approvals, onboarded
from tests.fixtures.platform import WORKER_LEASE_SECONDS, Platform, eventually
from tests.unit.tiny_training import build_tiny_base, load_tokenizer

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

_numbers = itertools.count()
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)


# Consumers, each with the effects of one life in the order in which it has them.
LIVES = {
    "curation": ("curation", ["put:consents", "swap:state", "put:examples", "publish:sano.training.requested"]),
    "training": ("training", ["put:runs", "swap:state"]),
    # It reads usage beside the other topics, so that neither comes after the other.
    "ledger, audit": ("ledger", ["put:audit-claims", "put:audit-head"]),
    "ledger, usage": ("ledger", ["put:usage"]),
    "knowledge": ("knowledge", ["put:knowledge", "erase:knowledge"]),
}
PURGE_LIVES = [
    ["put:purges", "publish:sano.purge.requested"],
    ["put:purges", "swap:state", "erase:key.json", "put:audit-head", "erase:consents", "put:certificate"],
]
"""Purges, each with the effects that their processes are killed after, one after another. From ``put:purges`` on the
driver carries the purge out, while the churn comes again until its command is out: neither waits for the other.
"""
WORKER_LIVES = [["put:training-sets", "put:staging", "put:adapters"], ["publish:sano.adapter.ready"]]
"""Runs, each with the effects that their workers are killed at, one after another. From ``put:adapters`` on the run is
published, and no worker comes again.
"""
ACTIVATION = ["swap:state", "publish:sano.adapter.activated"]
EXPORT = ["put:exports", "publish:sano.export.ready"]


@pytest.fixture
async def tenancy(platform: Platform) -> AsyncIterator[Tenancy]:
    async with platform.tenancy() as connected:
        yield connected


def _tenant() -> TenantId:
    return TenantId(f"kill-{next(_numbers)}")


async def _state(tenancy: Tenancy, tenant: TenantId) -> TenantState:
    return (await tenancy.states.read(tenant)).state


@pytest.mark.parametrize("life", LIVES)
async def test_a_consumer_that_is_killed_after_each_of_its_effects_in_turn_loses_nothing_and_does_nothing_twice(
    platform: Platform, tenancy: Tenancy, life: str
) -> None:
    """Every process but the last goes on from what a killed one left."""
    consumer, (first, *others) = LIVES[life]
    platform.restart(consumer, f"after:{first}")
    tenant = await _sent(tenancy)
    await _killed_in_turn(platform, consumer, others)
    await _handled(tenancy, tenant)


async def _killed_in_turn(platform: Platform, consumer: str, effects: list[str]) -> None:
    """The consumer dies where it was started to, then at each of these effects; then it runs."""
    for effect in effects:
        await platform.died(consumer)
        platform.restart(consumer, f"after:{effect}")
    await platform.died(consumer)
    platform.restart(consumer)


async def _with_examples(tenancy: Tenancy, policy: TenantPolicy) -> TenantId:
    """A tenant with consent and three approvals."""
    tenant = await onboarded(tenancy, _tenant(), policy)
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    for approval in await approvals(tenancy, tenant, 3):
        await tenancy.outbox.publish(tenant, approval)
    return tenant


async def _sent(tenancy: Tenancy) -> TenantId:
    """A tenant with consent, three approvals, which complete a batch, one use, and two versions of a document; it asks
    for fifty to train on.
    """
    tenant = await _with_examples(tenancy, TenantPolicy(min_new_examples=3, min_training_examples=50))
    await tenancy.outbox.publish(tenant, events.UsageRecorded(usage_id="u-1", source="inference", prompt_tokens=7))
    for version in (1, 2):
        await tenancy.outbox.publish(tenant, await _document(tenancy, tenant, version))
    return tenant


async def _document(tenancy: Tenancy, tenant: TenantId, version: int) -> events.DocumentUpserted:
    text = DocumentBlock(kind="text", text=f"{version} mg")
    content = DocumentContent(title="Dose", blocks=(text,), salt="5" * 64)
    key = (await tenancy.keys.open(tenant)).public_key
    reference = InlineContent(jwe=encrypt_inline(key, content))
    return events.DocumentUpserted(
        document_id="d1",
        version=version,
        content=CommittedDocument(reference=reference, commitment=content.commitment()),
        stated_by="op-1",
    )


async def _handled(tenancy: Tenancy, tenant: TenantId) -> None:
    """All that was sent had its effects, each once."""

    async def rejected() -> TenantState | None:
        state = await _state(tenancy, tenant)
        run = state.runs.get("batch-1")
        return state if run is not None and run.status == "rejected" and not state.outbox else None

    state = await eventually(rejected, "the batch was asked for and refused")
    assert state.curation.fresh == ()
    assert len(state.curation.recent) == 3
    assert set(state.runs) == {"batch-1"}
    store = await tenancy.store(tenant)

    async def counted() -> bool | None:
        of_days = object_keys.USAGE_DAYS  # an inventory of what the tenant stores may come at any time
        return len([key async for key in store.list("usage") if not key.startswith(of_days)]) == 1 or None

    await eventually(counted, "the usage was recorded once")

    async def indexed() -> bool | None:
        knowledge = (await _state(tenancy, tenant)).knowledge
        texts = [key async for key in store.list("knowledge", "documents")]
        if knowledge is None or texts != [object_keys.document("d1", 2)]:
            return None
        held = await read_set(store, knowledge)
        [segment] = [unpacked(await read_segment(store, entry)) for entry in held.segments]
        stored = [key async for key in store.list("knowledge")]
        return ([passage.text for passage in segment.passages()], len(stored)) == (["2 mg"], 3) or None

    await eventually(indexed, "the document's later version alone is indexed, and nothing else is left")
    assert len([key async for key in store.list("examples")]) == 3


@pytest.mark.parametrize("effects", PURGE_LIVES, ids=", ".join)
async def test_a_purge_that_is_killed_after_each_of_its_effects_in_turn_is_certified(
    platform: Platform, tenancy: Tenancy, effects: list[str]
) -> None:
    """One purge: every process but the last goes on from what a killed one left."""
    tenant = await _sent(tenancy)
    await _handled(tenancy, tenant)
    platform.restart("purge", f"after:{effects[0]}")
    await tenancy.outbox.publish(tenant, events.TenantChurned(requested_by="op"))
    await _killed_in_turn(platform, "purge", effects[1:])

    async def certified() -> PurgeRecord | None:
        state = await _state(tenancy, tenant)
        if state.purge is None or state.status != "purged" or state.outbox:
            return None
        try:
            stored = await tenancy.objects.get(object_keys.purge_key(tenant, state.purge.purge_id))
        except ObjectNotFound:
            return None
        record = PurgeRecord.model_validate_json(stored.body)
        return record if record.step == "certified" else None

    record = await eventually(certified, "the purge was certified")
    assert record.key_destroyed_at is not None
    left = [v.key async for v in tenancy.objects.versions(object_keys.tenant_prefix(tenant))]
    assert left == []
    assert [v.key async for v in tenancy.objects.versions(object_keys.key_key(tenant))] == []
    certificate = await tenancy.objects.get(object_keys.certificate_key(record.tenant, record.purge_id))
    assert len(certificate.body) > 0


async def test_an_activation_and_an_export_survive_the_kills_of_their_consumers(
    platform: Platform, tenancy: Tenancy, tiny_base: Path
) -> None:
    """Every process but the last of each goes on from what a killed one left."""
    platform.restart("training", SANO_BASE_MODEL=str(tiny_base))
    try:
        platform.restart("adapters", f"after:{ACTIVATION[0]}")
        policy = TenantPolicy(min_new_examples=3, min_training_examples=2, hyperparameters=ONE_STEP)
        tenant = await _with_examples(tenancy, policy)
        await platform.died("adapters")
        platform.processes["training"].kill()  # its runner pays what a dead process owes, once that is overdue
        await _killed_in_turn(platform, "adapters", ACTIVATION[1:])

        async def activated() -> TenantState | None:
            state = await _state(tenancy, tenant)
            return state if state.active_adapter is not None and not state.outbox else None

        state = await eventually(activated, "the adapter was activated")
        assert state.activations == 1
        platform.restart("export", f"after:{EXPORT[0]}")
        await tenancy.outbox.publish(tenant, events.ExportRequested(export_id="x-1", requested_by="op"))
        await _killed_in_turn(platform, "export", EXPORT[1:])
        store = await tenancy.store(tenant)

        async def exported() -> bool | None:
            files = {key async for key in store.list("exports")}
            whole = {object_keys.export("x-1", file) for file in EXPORT_FILES}
            return files == {object_keys.export_decision("x-1"), *whole} or None

        await eventually(exported, "the export was written")
    finally:
        platform.restart("training")


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("tiny"), load_tokenizer()).path


@pytest.fixture
def without_runner(platform: Platform) -> Iterator[None]:
    """The test is the runner until it starts the training service, which otherwise is started afterwards."""
    platform.processes["training"].kill()
    yield
    if not platform.processes["training"].is_running():
        platform.restart("training")


@pytest.mark.parametrize("effects", WORKER_LIVES, ids=", ".join)
async def test_workers_that_are_killed_at_each_of_their_effects_in_turn_are_followed_by_one_that_publishes_once(
    platform: Platform, tenancy: Tenancy, tiny_base: Path, without_runner: None, effects: list[str]
) -> None:
    tenant = await _with_examples(tenancy, TenantPolicy(min_new_examples=100, min_training_examples=2))

    async def curated() -> bool | None:
        return len((await _state(tenancy, tenant)).curation.fresh) == 3 or None

    await eventually(curated, "three examples were curated")
    command = events.TrainingRequested(run_id="r-1", trigger="operator", hyperparameters=ONE_STEP)
    event = await tenancy.outbox.publish(tenant, command)
    ports = TrainingPorts(tenancy, lambda: None)
    assert await on_training_requested(event, ports) == Outcome.EFFECT
    store = await tenancy.store(tenant)
    leases = Leases(store, tenancy.outbox, "test", seconds=WORKER_LEASE_SECONDS)

    async def over() -> bool | None:
        return not await leases.alive("r-1", (await _state(tenancy, tenant)).runs["r-1"]) or None

    for effect in effects:
        await eventually(over, "the dead worker's lease ended")
        assert await platform.work(tenant, "r-1", tiny_base, f"before:{effect}") == -signal.SIGKILL
    if (await _state(tenancy, tenant)).runs["r-1"].status in ("queued", "running"):
        await eventually(over, "the dead worker's lease ended")
        assert await platform.work(tenant, "r-1", tiny_base) == 0
    platform.restart("training")  # its reconciler finishes what the workers left

    async def completed() -> TenantState | None:
        state = await _state(tenancy, tenant)
        done = state.runs["r-1"].status == "completed" and state.active_adapter is not None and not state.outbox
        return state if done else None

    state = await eventually(completed, "the run was completed and its adapter activated")
    assert list(state.adapters) == [state.active_adapter]

    async def tidied() -> bool | None:
        return [key async for key in store.list("staging")] == [] or None

    await eventually(tidied, "what the dead workers had staged was erased")
    assert len([key async for key in store.list("adapters")]) == len(object_keys.ADAPTER_FILES)
