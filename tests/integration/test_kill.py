"""kill -9 of each consumer and of the worker at its effects, on real Kafka and a real S3 API.

``tests/invariants/test_crash_points.py`` kills simulated processes at effects of every kind. Here each process is hit
by a real SIGKILL at some of them, and what Kafka and S3 make of it is seen.
"""

from __future__ import annotations

import asyncio
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

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1500)]

_numbers = itertools.count()
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)


KILLED = {
    "curation": ["put:consents", "swap:state", "publish:sano.training.requested", "put:examples"],
    "training": ["put:runs", "swap:state"],
    "ledger": ["put:audit-claims", "put:audit-head", "put:usage"],
    "knowledge": ["put:knowledge", "erase:knowledge"],
}
"""Consumers, each with the effects of one life in the order in which it has them."""
PURGE = ["put:purges", "swap:state", "erase:key.json", "put:audit-head", "erase:consents", "put:certificate"]
"""The effects that its processes are killed after, one after another."""
WORKER_LIVES = [["put:staging", "put:adapters"], ["publish:sano.adapter.ready"]]
"""Runs, each with the effects that their workers are killed at, one after another. From ``put:adapters`` on the run is
published, and no worker comes again. At ``put:training-sets`` one is killed in test_kubernetes.py.
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


async def test_consumers_that_are_killed_after_each_of_their_effects_in_turn_lose_nothing_and_do_nothing_twice(
    platform: Platform, tenancy: Tenancy
) -> None:
    """Every process but the last of each goes on from what a killed one left."""
    for consumer, (first, *_) in KILLED.items():
        platform.restart(consumer, f"after:{first}")
    tenant = await _with_examples(tenancy, TenantPolicy(min_new_examples=3, min_training_examples=50))

    async def decided() -> None:
        await _killed_in_turn(platform, "curation", KILLED["curation"][1:])
        await _killed_in_turn(platform, "training", KILLED["training"][1:])

    async def counted() -> None:
        # It reads usage beside the other topics: what is sent only now comes after its other effects.
        await _killed_in_turn(platform, "ledger", KILLED["ledger"][1:-1], KILLED["ledger"][-1])
        await _used(tenancy, tenant)
        await _killed_in_turn(platform, "ledger", [])

    async def known() -> None:
        # Two versions that it reads at once are one change, which erases nothing.
        await _document_sent(tenancy, tenant, 1)
        await _killed_in_turn(platform, "knowledge", [], KILLED["knowledge"][1])
        await _indexed(tenancy, tenant, 1)
        await _document_sent(tenancy, tenant, 2)
        await _killed_in_turn(platform, "knowledge", [])

    await asyncio.gather(decided(), counted(), known())
    await _handled(tenancy, tenant)

    async def rejected() -> TenantState | None:
        state = await _state(tenancy, tenant)
        run = state.runs.get("batch-1")
        return state if run is not None and run.status == "rejected" and not state.outbox else None

    state = await eventually(rejected, "the batch was asked for and refused")
    assert state.curation.fresh == ()
    assert len(state.curation.recent) == 3
    assert set(state.runs) == {"batch-1"}


async def _killed_in_turn(platform: Platform, consumer: str, effects: list[str], last: str | None = None) -> None:
    """The consumer dies where it was started to, then at each of these effects; then it runs, up to the ``last``."""
    for effect in effects:
        await platform.died(consumer)
        await asyncio.to_thread(platform.restart, consumer, f"after:{effect}")
    await platform.died(consumer)
    await asyncio.to_thread(platform.restart, consumer, last and f"after:{last}")


async def _with_examples(tenancy: Tenancy, policy: TenantPolicy) -> TenantId:
    """A tenant with consent and three approvals."""
    tenant = await onboarded(tenancy, _tenant(), policy)
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    for approval in await approvals(tenancy, tenant, 3):
        await tenancy.outbox.publish(tenant, approval)
    return tenant


async def _used(tenancy: Tenancy, tenant: TenantId) -> None:
    await tenancy.outbox.publish(tenant, events.UsageRecorded(usage_id="u-1", source="inference", prompt_tokens=7))


async def _document_sent(tenancy: Tenancy, tenant: TenantId, version: int) -> None:
    text = DocumentBlock(kind="text", text=f"{version} mg")
    content = DocumentContent(title="Dose", blocks=(text,), salt="5" * 64)
    key = (await tenancy.keys.open(tenant)).public_key
    reference = InlineContent(jwe=encrypt_inline(key, content))
    committed = CommittedDocument(reference=reference, commitment=content.commitment())
    upserted = events.DocumentUpserted(document_id="d1", version=version, content=committed, stated_by="op-1")
    await tenancy.outbox.publish(tenant, upserted)


async def _indexed(tenancy: Tenancy, tenant: TenantId, version: int) -> None:
    store = await tenancy.store(tenant)

    async def indexed() -> bool | None:
        knowledge = (await _state(tenancy, tenant)).knowledge
        texts = [key async for key in store.list("knowledge", "documents")]
        if knowledge is None or texts != [object_keys.document("d1", version)]:
            return None
        held = await read_set(store, knowledge)
        [segment] = [unpacked(await read_segment(store, entry)) for entry in held.segments]
        stored = [key async for key in store.list("knowledge")]
        return ([passage.text for passage in segment.passages()], len(stored)) == ([f"{version} mg"], 3) or None

    await eventually(indexed, "this version of the document alone is indexed, and nothing else is left")


async def _handled(tenancy: Tenancy, tenant: TenantId) -> None:
    """Approvals, use and document had their effects, each once."""
    store = await tenancy.store(tenant)

    async def counted() -> bool | None:
        of_days = object_keys.USAGE_DAYS  # an inventory of what the tenant stores may come at any time
        return len([key async for key in store.list("usage") if not key.startswith(of_days)]) == 1 or None

    await eventually(counted, "the usage was recorded once")

    await _indexed(tenancy, tenant, 2)

    async def curated() -> bool | None:
        curation = (await _state(tenancy, tenant)).curation
        return len((*curation.fresh, *curation.recent)) == 3 or None

    await eventually(curated, "three approvals were curated")
    assert len([key async for key in store.list("examples")]) == 3


async def test_a_purge_that_is_killed_after_each_of_its_effects_in_turn_is_certified(
    platform: Platform, tenancy: Tenancy
) -> None:
    """One purge: every process but the last goes on from what a killed one left."""
    # Nothing is trained: where there was a training, a purge waits for the end of its lease besides.
    tenant = await _with_examples(tenancy, TenantPolicy(min_new_examples=100))
    await _document_sent(tenancy, tenant, 2)
    await _used(tenancy, tenant)
    await _handled(tenancy, tenant)
    platform.restart("purge", f"after:{PURGE[0]}")
    await tenancy.outbox.publish(tenant, events.TenantChurned(requested_by="op"))
    await _killed_in_turn(platform, "purge", PURGE[1:])

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
    platform: Platform, tenancy: Tenancy
) -> None:
    """Every process but the last of each goes on from what a killed one left."""
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


@pytest.fixture
def without_runner(platform: Platform) -> Iterator[None]:
    """The test is the runner until it starts the training service, which otherwise is started afterwards."""
    platform.processes["training"].kill()
    yield
    if not platform.processes["training"].is_running():
        platform.restart("training")


async def test_workers_that_are_killed_at_each_of_their_effects_in_turn_are_followed_by_one_that_publishes_once(
    platform: Platform, tenancy: Tenancy, tiny_base: Path, without_runner: None
) -> None:
    """Both lives at once: each waits for the ends of dead workers' leases, most of the time."""
    lives = [_worker_life(platform, tenancy, tiny_base, effects) for effects in WORKER_LIVES]
    tenants = await asyncio.gather(*lives)
    platform.restart("training")  # its reconciler finishes what the workers left
    for tenant in tenants:
        await _published_once(tenancy, tenant)


async def _worker_life(platform: Platform, tenancy: Tenancy, base: Path, effects: list[str]) -> TenantId:
    """A run whose workers die right before each of these effects, and whose last worker does what is left."""
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
        assert await platform.work(tenant, "r-1", base, f"before:{effect}") == -signal.SIGKILL
    if (await _state(tenancy, tenant)).runs["r-1"].status in ("queued", "running"):
        await eventually(over, "the dead worker's lease ended")
        assert await platform.work(tenant, "r-1", base) == 0
    return tenant


async def _published_once(tenancy: Tenancy, tenant: TenantId) -> None:
    async def completed() -> TenantState | None:
        state = await _state(tenancy, tenant)
        done = state.runs["r-1"].status == "completed" and state.active_adapter is not None and not state.outbox
        return state if done else None

    state = await eventually(completed, "the run was completed and its adapter activated")
    assert list(state.adapters) == [state.active_adapter]
    store = await tenancy.store(tenant)

    async def tidied() -> bool | None:
        return [key async for key in store.list("staging")] == [] or None

    await eventually(tidied, "what the dead workers had staged was erased")
    assert len([key async for key in store.list("adapters")]) == len(object_keys.ADAPTER_FILES)
