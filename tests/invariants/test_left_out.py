"""Examples that cannot be trained on have no part in a run, and are named beside it; what another attempt would not
mend is rejected by the first."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.training.result import TrainingDiverged, UnknownModules
from consumers.training.tokenization import ExampleTooLong
from producers.queries import adapters
from producers.queries.lineage import Lineage, lineage
from producers.queries.withdrawals import withdrawals
from schemas.bus import events
from schemas.models.adapter_files import AdapterRefused
from schemas.objects import object_keys
from schemas.objects.state import RunState
from schemas.objects.training import TrainingSet
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.invariants.test_audit import entries
from tests.world.crashes import each_death
from tests.world.world import LEASE_SECONDS, World

GOOD = ("e0", "e1", "e2")
BAD = ("e3", "e4")
REFUSES = {"<|im_end|>": "control-token", "very long": "too-long"}
LEFT_OUT = [("e3", 1, "too-long"), ("e4", 1, "control-token")]


async def taught(world: World, **policy: object) -> TenantId:
    """A tenant that approved three good examples and two that the model cannot take, which completes a batch."""
    world.trainer.refuses = REFUSES
    held = {"min_new_examples": len(GOOD + BAD), "min_training_examples": 2, **policy}
    tenant = await world.onboard("t1", TenantPolicy.model_validate(held))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    texts = dict(zip(BAD, ("very long", "<|im_end|>"), strict=True))
    for name in (*GOOD, *BAD):
        await world.publish(tenant, await world.approval(tenant, name, text=texts.get(name, "a")))
    return tenant


async def run_of(world: World, tenant: TenantId, run_id: str = "batch-1") -> RunState:
    return (await world.state(tenant)).runs[run_id]


async def traced(world: World, tenant: TenantId, run: RunState) -> Lineage:
    assert run.adapter_digest is not None
    return await lineage(world.outside, tenant, run.adapter_digest, world.keys.trust)


def named(view: adapters.RunView | Lineage) -> list[tuple[str, int, str]]:
    return [(example.example_id, example.version, example.code) for example in view.left_out]


async def assert_trained_on_the_good_ones(world: World, tenant: TenantId) -> None:
    run = await run_of(world, tenant)
    assert run.status == "completed" and run.training_set_id is not None
    store = await world.outside.store(tenant)
    frozen, _ = await store.get_record(object_keys.training_set(run.training_set_id), TrainingSet)
    assert tuple(entry.example_id for entry in frozen.entries) == GOOD
    assert set(world.trainer.trained) == {GOOD}
    found = await traced(world, tenant, run)
    assert tuple(example.example_id for example in found.examples) == GOOD
    [view] = await adapters.runs(world.outside, tenant)
    assert named(found) == named(view) == LEFT_OUT


async def test_they_have_no_part_in_the_run_and_are_named_in_the_manifest_and_beside_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    await assert_trained_on_the_good_ones(world, tenant)
    frozen = [entry for entry in await entries(world, tenant) if entry.kind == "training_set.frozen"]
    assert [(entry.facts["examples"], entry.facts["left_out"]) for entry in frozen] == [(len(GOOD), len(BAD))]
    said = [vars(record) for record in caplog.records if record.message == "examples left out"]
    assert [line["codes"] for line in said] == [{"control-token": 1, "too-long": 1}]


async def test_a_run_that_is_killed_anywhere_and_made_again_leaves_out_the_same(tmp_path: Path) -> None:
    for crash in each_death(lambda _, process: process == "worker"):
        world = World(tmp_path / str(crash.number), crash)
        tenant = await taught(world)
        await world.settle()
        world.now += timedelta(seconds=4 * LEASE_SECONDS)
        await world.settle()
        await assert_trained_on_the_good_ones(world, tenant)
    assert crash.number > 10


async def test_what_is_named_is_what_the_latest_attempt_left_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.trainer.fails = OSError("disk")
    tenant = await taught(world)
    while (await world.state(tenant)).fence == 0:
        await world.step()
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e3", reason_code="patient-request"))
    await world.deliver()
    world.trainer.fails = None
    await world.settle()
    run = await run_of(world, tenant)
    assert (run.status, run.attempts) == ("completed", 2)
    [view] = await adapters.runs(world.outside, tenant)
    assert named(view) == named(await traced(world, tenant, run)) == LEFT_OUT[1:]


async def test_a_run_with_too_few_that_can_be_trained_on_is_rejected_at_once_and_names_the_others(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await taught(world, min_training_examples=4)
    await world.settle()
    run = await run_of(world, tenant)
    assert (run.status, run.attempts, run.reason_code) == ("rejected", 1, "too-few-usable-examples")
    [view] = await adapters.runs(world.outside, tenant)
    assert named(view) == LEFT_OUT
    assert world.trainer.trained == []
    keys = [key async for key in world.memory.keys(object_keys.tenant_area(tenant, "training-sets"))]
    assert keys == [], "no set is frozen that nothing is trained on"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (AdapterRefused("one of target_modules has no tensors"), "adapter-refused"),
        (UnknownModules(), "unknown-target-modules"),
        (TrainingDiverged(3), "training-diverged"),
        (ExampleTooLong("e0", 600, 512), "too-long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_every_attempt_would_refuse_is_rejected_by_the_first(
    tmp_path: Path, refusal: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.trainer.fails = refusal
    tenant = await taught(world)
    with caplog.at_level(logging.WARNING):
        await world.settle()
    run = await run_of(world, tenant)
    assert (run.status, run.attempts, run.reason_code) == ("rejected", 1, code)
    assert [vars(line)["reason"] for line in caplog.records if line.message == "run rejected"] == [code]
    [view] = await adapters.runs(world.outside, tenant)
    assert named(view) == LEFT_OUT


async def test_they_set_off_no_other_training_and_keep_no_withdrawal_open(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    for _ in range(3):
        await world.settle()
        world.now += timedelta(days=1)
    world.rewind_all()
    await world.settle()
    assert list((await world.state(tenant)).runs) == ["batch-1"]
    assert (await world.state(tenant)).curation.fresh == ()
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e3", reason_code="patient-request"))
    await world.settle()
    [view] = (await withdrawals(world.outside, tenant)).views
    assert (view.step, view.outcome, view.affected) == ("closed", "not-affected", ())
    assert list((await world.state(tenant)).runs) == ["batch-1"]


async def test_a_withdrawal_is_over_once_a_run_that_leaves_others_out_has_replaced_the_adapter(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    old = (await world.state(tenant)).active_adapter
    before = world.now
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    await world.settle()
    assert world.now - before < timedelta(days=1), "it was not the deadline that ended it"
    [view] = (await withdrawals(world.outside, tenant)).views
    new = (await world.state(tenant)).active_adapter
    assert (view.outcome, view.affected, view.replacement) == ("retired", (old,), new)
    assert new != old and world.trainer.trained[-1] == GOOD[1:]


async def test_nothing_of_their_text_is_kept_with_a_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    store = await world.outside.store(tenant)
    kept = [relative async for relative in store.list("runs") if "/left-out/" in relative]
    assert len(kept) == 1
    record = json.loads((await store.get(kept[0]))[0])
    assert {frozenset(example) for example in record["examples"]} == {frozenset({"example_id", "version", "code"})}


async def test_after_a_purge_the_runs_of_a_tenant_are_still_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    assert (await world.state(tenant)).status == "purged"
    assert await adapters.runs(world.outside, tenant) == []
