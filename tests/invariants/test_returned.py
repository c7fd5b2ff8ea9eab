"""The gate's third look: what it finds in an approved example as a set is frozen sends the example back to review."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.curation.returns import on_example_returned
from producers.queries import adapters
from producers.queries.lineage import Lineage, lineage
from producers.queries.proposals import open_proposals, proposed_text
from schemas.base.identifiers import ReasonCode
from schemas.bus import events
from schemas.bus.events import EventData
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import CLEAN, NAME
from tests.invariants.test_audit import entries
from tests.world.crashes import CrashAt, each_death
from tests.world.world import LEASE_SECONDS, POLICY, World

HIT = "e3"
GOOD = ("e1", "e2")


async def taught(world: World, policy: TenantPolicy = POLICY) -> TenantId:
    """Three examples that somebody approved elsewhere; in one of them a name was missed."""
    tenant = await world.onboard("t1", policy)
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for name in (*GOOD, HIT):
        approval = await world.approval(tenant, name, text=NAME if name == HIT else "a")
        await world.publish(tenant, approval.evolve(stated_by="op-1"))
    return tenant


async def record_of(world: World, tenant: TenantId, example_id: str = HIT) -> ExampleRecord:
    store = await world.outside.store(tenant)
    return (await store.get_record(object_keys.example(example_id), ExampleRecord))[0]


async def texts(world: World, tenant: TenantId, example_id: str = HIT) -> list[str]:
    store = await world.outside.store(tenant)
    return [name async for name in store.list("contents", example_id)]


async def traced(world: World, tenant: TenantId) -> Lineage:
    active = (await world.state(tenant)).active_adapter
    assert active is not None
    return await lineage(world.outside, tenant, active, world.keys.trust)


async def assert_returned(world: World, tenant: TenantId) -> None:
    """It is out, its text waits for reviewers as the next version, and the adapter was made of the others."""
    record = await record_of(world, tenant)
    assert (record.status, record.version, record.gate and record.gate.verdict) == ("returned", 1, "redacted")
    assert await texts(world, tenant) == [f"contents/{HIT}/2"]
    [waiting] = await open_proposals(world.outside, tenant)
    assert (waiting.example_id, waiting.version, waiting.source) == (HIT, 2, "freeze")
    assert [(span.kind, span.count) for span in waiting.redacted] == [("PATIENT", 1)]
    assert set(world.trainer.trained) == {GOOD}
    found = await traced(world, tenant)
    assert [(each.example_id, each.gate, each.stated_by, each.approval_gate) for each in found.examples] == [
        (name, CLEAN, "op-1", None) for name in GOOD
    ]


async def test_the_example_goes_back_to_review_and_the_run_goes_on_without_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    await assert_returned(world, tenant)
    assert [(each.example_id, each.code) for each in (await traced(world, tenant)).left_out] == [
        (HIT, "identifiers-found")
    ]
    [view] = await adapters.runs(world.outside, tenant)
    assert (view.status, [(each.example_id, each.code) for each in view.left_out]) == (
        "completed",
        [(HIT, "identifiers-found")],
    )
    shown = (await proposed_text(world.outside, tenant, HIT)).messages[-1].content
    assert NAME in shown


async def test_the_audit_log_says_which_gate_sent_it_back_and_which_judged_the_set(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    told = {entry.kind: entry.facts for entry in await entries(world, tenant)}
    returned, frozen = told["example.returned"], told["training_set.frozen"]
    assert (returned["gate"], returned["version"], returned["run_id"]) == ("test-gate/1", 1, "batch-1")
    assert (frozen["gate"], frozen["examples"], frozen["left_out"]) == ("test-gate/1", 2, 1)


async def test_where_the_policy_says_so_the_run_is_rejected_and_the_example_goes_back_all_the_same(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await taught(world, POLICY.evolve(on_gate_hit="fail"))
    await world.settle()
    state = await world.state(tenant)
    assert [(run.status, run.reason_code) for run in state.runs.values()] == [("rejected", "identifiers-found")]
    assert (world.trainer.trained, state.active_adapter) == ([], None)
    assert (await record_of(world, tenant)).status == "returned"
    assert [view.example_id for view in await open_proposals(world.outside, tenant)] == [HIT]
    [view] = await adapters.runs(world.outside, tenant)
    assert [(each.example_id, each.code) for each in view.left_out] == [(HIT, "identifiers-found")]


async def test_a_run_for_which_too_few_are_left_is_rejected(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world, POLICY.evolve(min_training_examples=3))
    await world.settle()
    assert [run.reason_code for run in (await world.state(tenant)).runs.values()] == ["too-few-usable-examples"]
    assert (await record_of(world, tenant)).status == "returned"


async def test_the_manifest_says_of_every_candidate_that_is_not_in_why(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    out: list[EventData] = [
        await world.approval(tenant, "f1", consent="consent-2"),
        await world.approval(tenant, "f2", consent=None),
        await world.approval(tenant, "f3", consent="consent-3"),
        events.ConsentGranted(consent_id="consent-3", version=1),
        events.ConsentRevoked(consent_id="consent-3", version=2),
        await world.approval(tenant, "f6", consent="consent-6"),
        events.ConsentGranted(consent_id="consent-6", version=1, until=world.now - timedelta(seconds=1)),
        await world.approval(tenant, "f7", consent="consent-7"),
        events.ConsentGranted(consent_id="consent-7", version=1, until=world.now + timedelta(days=1)),
        events.ExampleRejected(example_id="f4", version=1, reviewer_id="rev-1", reason_code="unclear"),
        events.ExampleWithdrawn(example_id="f5", reason_code="patient-request"),
        world.proposal(tenant, "f8", version=2),
        world.proposal(tenant, "f7", version=2, consent="consent-7"),
    ]
    await world.settle()
    for data in out:
        await world.publish(tenant, data)
    await world.settle()
    await world.publish(tenant, events.TrainingRequested(run_id="again", trigger="operator"))
    await world.settle()
    said: dict[str, ReasonCode] = {each.example_id: each.code for each in (await traced(world, tenant)).ineligible}
    assert said == {
        HIT: "back-in-review",
        "f1": "consent-missing",
        "f2": "consent-missing",
        "f3": "consent-revoked",
        "f4": "rejected",
        "f5": "withdrawn",
        "f6": "consent-over",
        "f8": "in-review",
    }, "f7 is in, as it was approved before its edit"


async def test_reviewers_decide_on_the_text_again_and_the_gate_has_the_last_word(tmp_path: Path) -> None:
    """Approved as it is, it is sent back again; rejected, it stays out and its text is erased."""
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()

    async def review(version: int, verdict: events.Verdict) -> None:
        [waiting] = await open_proposals(world.outside, tenant)
        assert waiting.version == version
        said = events.ExampleReviewed(
            example_id=HIT,
            version=version,
            reviewer_id="rev-1",
            verdict=verdict,
            reason_code="names-somebody" if verdict == "rejected" else None,
            commitment=waiting.commitment,
        )
        await world.publish(tenant, said)
        await world.settle()

    await review(2, "approved")
    assert (await record_of(world, tenant)).status == "approved"
    await world.publish(tenant, events.TrainingRequested(run_id="again", trigger="operator"))
    await world.settle()
    record = await record_of(world, tenant)
    assert (record.status, record.version, await texts(world, tenant)) == ("returned", 2, [f"contents/{HIT}/3"])
    await review(3, "rejected")
    assert ((await record_of(world, tenant)).status, await texts(world, tenant)) == ("rejected", [])
    assert await open_proposals(world.outside, tenant) == []
    assert set(world.trainer.trained) == {GOOD}


async def test_what_says_that_it_goes_back_comes_too_late_once_something_else_was_decided(tmp_path: Path) -> None:
    for decided in ("approved", "rejected", "withdrawn"):
        world = World(tmp_path / decided)
        tenant = await world.onboard("t1")
        approval = await world.approval(tenant, HIT)
        later: dict[str, EventData] = {
            "approved": await world.approval(tenant, HIT, version=2),
            "rejected": events.ExampleRejected(example_id=HIT, version=1, reviewer_id="rev-1", reason_code="unclear"),
            "withdrawn": events.ExampleWithdrawn(example_id=HIT, reason_code="patient-request"),
        }
        for data in (approval, later[decided]):
            await world.publish(tenant, data)
        await world.settle()
        before = await texts(world, tenant)
        returned = await world.publish(tenant, world.returned(approval))
        assert await on_example_returned(returned, world.outside) is Outcome.NOOP_STALE
        assert ((await record_of(world, tenant)).status, await texts(world, tenant)) == (decided, before)
        assert await open_proposals(world.outside, tenant) == []


async def test_an_edit_that_waits_for_reviewers_already_is_not_proposed_over(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    approval = await world.approval(tenant, HIT)
    for data in (approval, world.proposal(tenant, HIT, version=2)):
        await world.publish(tenant, data)
    await world.settle()
    returned = await world.publish(tenant, world.returned(approval))
    assert await on_example_returned(returned, world.outside) is Outcome.EFFECT
    [waiting] = await open_proposals(world.outside, tenant)
    assert (waiting.version, waiting.source) == (2, "file")
    assert (await record_of(world, tenant)).status == "returned"


async def test_nobody_sends_back_what_nobody_approved(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    returned = await world.publish(tenant, world.returned(await world.approval(tenant, HIT)))
    with pytest.raises(Refused, match="approved"):
        await on_example_returned(returned, world.outside)


async def test_whoever_is_killed_anywhere_it_goes_back_to_review_once(tmp_path: Path) -> None:
    def is_its(crash: CrashAt, process: str) -> bool:
        is_back = "publish:sano.example.returned" in crash.effects
        return process == "worker" or (process == "curation" and is_back)

    for crash in each_death(is_its):
        world = World(tmp_path / str(crash.number), crash)
        tenant = await taught(world)
        await world.settle()
        world.now += timedelta(seconds=4 * LEASE_SECONDS)
        await world.settle()
        await assert_returned(world, tenant)
    assert crash.number > 20


async def test_a_copy_of_a_returned_example_that_is_delivered_again_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await world.settle()
    world.rewind("curation", events.CURATION)
    await world.settle()
    await assert_returned(world, tenant)
    [made] = [event for event in world.bus.topics[events.CURATION] if isinstance(event.data, events.ExampleReturned)]
    later = replace(made, time=made.time + timedelta(hours=1))
    assert await on_example_returned(later, world.outside) is Outcome.NOOP_DUPLICATE
