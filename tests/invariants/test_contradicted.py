"""The audit log states as a fact nothing that the tenant's state denies, and keeps no second word for the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from producers.commands.policies import set_policy
from producers.queries import audit_log
from producers.queries.audit_copy import read_copy
from schemas.base.canonical import sha256_hex
from schemas.bus import events
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.envelope import Event
from schemas.bus.events import EventData
from schemas.bus.outcome import Outcome
from schemas.evidence.audit import CONTRADICTED, UNCONFIRMED, AuditEntry
from schemas.objects import object_keys
from tenancy.audit.verification import verify_copy
from tenancy.errors import Contradicted, Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.invariants.worlds import DispatchedWorld, event, learned, purged, receipt, samples, service
from tests.world.world import POLICY, World

TENANT = TenantId("t1")
DIGEST = "9" * 64


async def entries(world: World, tenant: TenantId = TENANT) -> list[AuditEntry]:
    copy = await read_copy(world.outside, tenant)
    assert verify_copy(copy, world.keys.trust).problems == ()
    return audit_log.entries_of(copy)


async def entered(world: World, *some: Event) -> tuple[list[AuditEntry], list[Outcome | None]]:
    """What the ledger adds to the log for these events, and the outcomes."""
    before = len(await entries(world))
    ledger = service(world, "ledger")
    outcomes = [await world.handle(ledger, one) for one in some]
    await world.keeper.reconcile()
    return (await entries(world))[before:], outcomes


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A tenant with an adapter, all of whose events are handled."""
    world = World(tmp_path)
    await world.onboard(TENANT)
    await learned(world, TENANT)
    return world


async def active(world: World) -> str:
    digest = (await world.state(TENANT)).active_adapter
    assert digest is not None
    return digest


def completed(**said: object) -> events.PurgeCompleted:
    made = {"purge_id": churn_purge_id(TENANT), "objects_removed": 7, "residual": 0, "certificate_sha256": "f" * 64}
    return events.PurgeCompleted.model_validate({**made, **said})


# --- what the state denies


async def test_a_forged_end_of_a_purge_is_contradicted_and_the_real_one_is_entered_later(world: World) -> None:
    forged = completed()
    (entry,), outcomes = await entered(world, event(TENANT, forged, world))
    assert outcomes == [Outcome.REFUSED_POLICY]
    assert (entry.kind, entry.actor.id) == (CONTRADICTED, "ledger")
    assert entry.facts["event_type"] == "sano.purge.completed"
    assert entry.facts["certificate_sha256"] == "f" * 64
    await purged(world, TENANT)
    (real,) = [entry for entry in await entries(world) if entry.kind == "purge.completed"]
    body = (await world.memory.get(object_keys.certificate_key(TENANT, churn_purge_id(TENANT)))).body
    assert real.facts["certificate_sha256"] == sha256_hex(json.loads(body))


async def test_a_forged_end_after_the_real_one_is_contradicted_too_and_names_the_entry(world: World) -> None:
    await purged(world, TENANT)
    (real,) = [entry for entry in await entries(world) if entry.kind == "purge.completed"]
    for changed in ({"certificate_sha256": "f" * 64}, {"objects_removed": 1}, {"residual": 3}):
        said = {**{name: real.facts[name] for name in completed().model_dump()}, **changed}
        forged = event(TENANT, completed(**said), world)
        added, outcomes = await entered(world, forged, forged)
        assert outcomes == [Outcome.REFUSED_POLICY] * 2
        assert [(entry.kind, entry.facts["about"]) for entry in added] == [(CONTRADICTED, real.tag)], "and once"


def denied(world: World, digest: str, activations: int) -> dict[str, EventData]:
    """What nobody said: of every type that can be checked."""
    now = world.now
    return {
        "a fence without a purge": events.PurgeFenced(purge_id="p1", fenced_at=now, deadline=now),
        "an end without a purge": completed(),
        "a warning without a purge": events.PurgeAtRisk(purge_id="p1", percent=50),
        "a missed deadline without a purge": events.PurgeOverdue(purge_id="p1"),
        "a purge id that none can have": events.PurgeOverdue.model_construct(purge_id="p.certificate"),
        "an eviction that nobody signed": events.ReplicaEvicted(replica_id="r", cause_id="p1", receipt={"a": 1}),
        "an eviction by another key": events.ReplicaEvicted(
            replica_id="replica-0",
            cause_id="p1",
            receipt=receipt(world, TENANT, signer=AllKeys.made()),
        ),
        "another tenant's eviction": events.ReplicaEvicted(
            replica_id="replica-0", cause_id="p1", receipt=receipt(world, "t10")
        ),
        "an adapter that is none": events.AdapterReady(
            adapter_digest=DIGEST, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1
        ),
        "an adapter of another run": events.AdapterReady(
            adapter_digest=digest, run_id="r9", base_model_digest="b" * 64, size_bytes=1
        ),
        "an activation of none": events.AdapterActivated(
            adapter_digest=DIGEST, previous_digest=None, activation=activations
        ),
        "an activation after none": events.AdapterActivated(
            adapter_digest=digest, previous_digest=DIGEST, activation=activations
        ),
        "an activation to come": events.AdapterActivated(
            adapter_digest=digest, previous_digest=None, activation=activations + 1
        ),
        "a rollback that is not so": events.AdapterRolledBack(
            adapter_digest=None, previous_digest=digest, activation=activations
        ),
        "a start of no run": events.TrainingStarted(run_id="r9", fence=1),
        "a start that is to come": events.TrainingStarted(run_id="batch-1", fence=99),
        "an end of no run": events.TrainingCompleted(
            run_id="r9", fence=1, training_set_id="a" * 64, adapter_digest=digest
        ),
        "an end with another set": events.TrainingCompleted(
            run_id="batch-1", fence=1, training_set_id="a" * 64, adapter_digest=digest
        ),
        "a rejection of a run that was completed": events.TrainingRejected(run_id="batch-1", reason_code="void"),
        "a failure of a run that was completed": events.TrainingFailed(
            run_id="batch-1", attempts=1, reason_code="worker-died"
        ),
        "a retirement of the active one": events.AdapterRetired(adapter_digest=digest, reason_code="withdrawn-example"),
    }


async def test_what_the_state_denies_is_entered_as_contradicted_and_once(world: World) -> None:
    digest, activations = await active(world), (await world.state(TENANT)).activations
    for what, data in denied(world, digest, activations).items():
        forged = event(TENANT, data, world)
        added, outcomes = await entered(world, forged, forged)
        assert outcomes == [Outcome.REFUSED_POLICY] * 2, what
        assert [entry.kind for entry in added] == [CONTRADICTED], what
        assert added[0].facts["event_type"] == data.type
    kinds = [entry.kind for entry in await entries(world)]
    assert "purge.fenced" not in kinds
    assert "adapter.retired" not in kinds


async def test_another_policy_under_the_version_in_force_is_contradicted_before_the_real_one_is_read(
    world: World,
) -> None:
    """Whoever set it may have published nothing yet: the state's word is the first."""
    set_by_op = await set_policy(world.outside, TENANT, {"deletion_sla_days": 20}, requested_by="op")
    (real,) = [made for made in world.bus.topics[events.TENANTS] if made.type == "sano.tenant.policy_changed"]
    for changed in ({"policy": POLICY}, {"requested_by": "another"}):
        forged = event(TENANT, real.data.evolve(**changed), world)
        added, outcomes = await entered(world, forged, forged)
        assert ([entry.kind for entry in added], outcomes) == ([CONTRADICTED], [Outcome.REFUSED_POLICY] * 2), changed
    (entry,), outcomes = await entered(world, real)
    assert (entry.kind, entry.facts["version"], outcomes) == (
        "tenant.policy_changed",
        set_by_op.version,
        [Outcome.EFFECT],
    )


async def test_an_adapters_whole_story_leads_to_what_was_said_of_it_and_to_nothing_else(world: World) -> None:
    digest = await active(world)
    run = events.TrainingRequested(run_id="another", trigger="operator")
    forged = events.AdapterReady(adapter_digest=digest, run_id="another", base_model_digest="b" * 64, size_bytes=1)
    none = events.AdapterReady(adapter_digest=DIGEST, run_id="r", base_model_digest="b" * 64, size_bytes=1)
    await entered(world, *(event(TENANT, data, world) for data in (run, forged, none)))
    log = await entries(world)
    _, about = audit_log.of_adapter(log, digest)
    assert [entry.facts["run_id"] for entry in about if entry.kind == CONTRADICTED] == ["another"]
    assert "another" not in [entry.facts["run_id"] for entry in about if entry.kind == "training.requested"]
    with pytest.raises(Refused, match="knows no adapter"):
        audit_log.of_adapter(log, DIGEST)


async def test_a_copy_says_how_many_of_its_entries_are_doubted(world: World) -> None:
    await entered(world, event(TENANT, completed(), world))
    verdict = verify_copy(await read_copy(world.outside, TENANT), world.keys.trust)
    assert (verdict.verdict, verdict.doubted_entries) == ("holds", 1)


async def test_a_warning_is_so_once_its_time_has_come_and_not_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.onboard(TENANT, POLICY.evolve(right_of_export=True, deletion_sla_days=20))
    await learned(world, TENANT)
    await world.publish(TENANT, events.TenantChurned(requested_by="op"))
    await world.deliver()
    await world.deliver()
    early: list[Event] = [event(TENANT, events.PurgeAtRisk(purge_id=churn_purge_id(TENANT), percent=80), world)]
    early.append(event(TENANT, events.PurgeOverdue(purge_id=churn_purge_id(TENANT)), world))
    added, _ = await entered(world, *early)
    assert [entry.kind for entry in added] == [CONTRADICTED] * 2
    world.now += timedelta(days=21)
    added, outcomes = await entered(world, *early)
    assert [entry.kind for entry in added] == ["purge.at_risk", "purge.overdue"]
    assert outcomes == [Outcome.EFFECT] * 2


async def test_after_a_purge_nothing_can_say_what_became_of_an_adapter(world: World) -> None:
    digest = await active(world)
    known = {entry.kind for entry in await entries(world)}
    assert "adapter.activated" in known
    (activated,) = [made for made in world.bus.topics[events.ADAPTERS] if made.type == "sano.adapter.activated"]
    await purged(world, TENANT)
    late = events.AdapterActivated(adapter_digest=digest, previous_digest=None, activation=7)
    added, outcomes = await entered(world, activated, event(TENANT, late, world))
    assert outcomes == [Outcome.NOOP_DUPLICATE, Outcome.REFUSED_PURGED], "what is entered already was so then"
    assert [(entry.kind, entry.recorded_while) for entry in added] == [(UNCONFIRMED, "purged")]


# --- what an earlier word denies


def other_words(approval: events.ExampleApproved) -> list[tuple[EventData, list[dict[str, object]]]]:
    """Events, and what others of the same id say in their place."""
    another = approval.content.evolve(commitment="d" * 64)
    return [
        (approval, [{"reviewer_id": "rev-2"}, {"consent_id": None}, {"consent_id": "c-2"}, {"content": another}]),
        (
            events.ExampleRejected(example_id="e60", version=1, reviewer_id="rev-1", reason_code="unclear"),
            [{"reviewer_id": "rev-2"}, {"reason_code": "duplicate"}],
        ),
        (events.ExampleWithdrawn(example_id="e61", reason_code="patient-request"), [{"reason_code": "other"}]),
        (
            events.TrainingRequested(run_id="r60", trigger="operator", requested_by="op-1"),
            [{"requested_by": "op-2"}, {"trigger": "policy"}, {"hyperparameters": POLICY.hyperparameters}],
        ),
        (
            events.ExportRequested(export_id="x60", requested_by="op-1"),
            [{"requested_by": "op-2"}, {"adapter_digest": DIGEST}],
        ),
        (
            events.PurgeRequested(purge_id="p60", reason_code="churned", requested_by="op-1"),
            [{"requested_by": "op-2"}, {"reason_code": "other"}],
        ),
        (events.TenantChurned(requested_by="op-1"), [{"requested_by": "op-2"}]),
    ]


async def test_a_second_word_is_entered_as_contradicted_and_names_the_first(world: World) -> None:
    for first, others in other_words(await world.approval(TENANT, "e60")):
        (entry,), _ = await entered(world, event(TENANT, first, world))
        assert entry.kind == first.type.removeprefix("sano.")
        for changed in others:
            second = event(TENANT, first.evolve(**changed), world)
            added, outcomes = await entered(world, second, second)
            assert outcomes == [Outcome.REFUSED_POLICY] * 2
            assert [(one.kind, one.facts["about"]) for one in added] == [(CONTRADICTED, entry.tag)], changed
            assert added[0].actor.id == "ledger"
        assert await entered(world, event(TENANT, first, world)) == ([], [Outcome.NOOP_DUPLICATE])


@pytest.mark.parametrize(
    "again",
    [
        lambda made: replace(made, time=made.time + timedelta(hours=1)),
        lambda made: replace(made, source="/sanolith/training"),
        lambda made: replace(made, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
        lambda made: replace(made, replay_id="replay-1", causation_id="another"),
    ],
    ids=["another time", "another service paid it", "another trace", "a replay"],
)
async def test_the_same_word_that_comes_again_in_another_way_is_a_duplicate(
    world: World, again: Callable[[Event], Event]
) -> None:
    repeated = [
        again(made)
        for topic in (events.CURATION, events.TRAINING, events.ADAPTERS, events.TENANTS)
        for made in world.bus.topics.get(topic, [])
    ]
    assert len(repeated) > 10
    added, outcomes = await entered(world, *repeated)
    assert (added, set(outcomes)) == ([], {Outcome.NOOP_DUPLICATE})


async def test_a_replica_that_signs_anew_says_the_same(world: World) -> None:
    await purged(world, TENANT)
    said = world.bus.topics[events.REPLICAS][-1]
    assert isinstance(said.data, events.ReplicaEvicted)
    anew = receipt(world, TENANT, cause=said.data.cause_id, requests_aborted=2)
    added, outcomes = await entered(world, replace(said, data=said.data.evolve(receipt=anew)))
    assert (added, outcomes) == ([], [Outcome.NOOP_DUPLICATE])


async def test_after_the_purge_a_replayed_approval_contradicts_nothing(world: World) -> None:
    """Its names cannot be linked any more, and so nobody can say that they differ."""
    approvals = [made for made in world.bus.topics[events.CURATION] if made.type == "sano.example.approved"]
    await purged(world, TENANT)
    added, outcomes = await entered(world, *approvals)
    assert (added, set(outcomes)) == ([], {Outcome.NOOP_DUPLICATE})


async def test_the_ledger_says_a_contradiction_once_although_its_outcome_comes_back(world: World) -> None:
    told = events.OutcomeRecorded(
        event_id="x",
        event_type="sano.purge.completed",
        consumer="ledger",
        outcome=Outcome.REFUSED_POLICY,
        delivery="sano.tenants.v1/0/9",
    )
    assert await entered(world, event(TENANT, told, world)) == ([], [Outcome.NOOP_DUPLICATE])


# --- those who act on it


async def test_the_second_of_two_approvals_of_one_version_is_refused_and_changes_nothing(world: World) -> None:
    curation = service(world, "curation")
    first = await world.approval(TENANT, "e70", text="first")
    assert await world.handle(curation, event(TENANT, first, world)) is Outcome.EFFECT
    before, state = dict(world.memory.objects), await world.state(TENANT)
    another = first.content.evolve(commitment="d" * 64)
    for changed in ({"reviewer_id": "rev-2"}, {"consent_id": "consent-2"}, {"consent_id": None}, {"content": another}):
        with pytest.raises(Contradicted) as refused:
            await world.handle(curation, event(TENANT, first.evolve(**changed), world))
        assert refused.value.code == "contradicted"
    assert await world.handle(curation, event(TENANT, first, world)) is Outcome.NOOP_DUPLICATE
    assert (dict(world.memory.objects), await world.state(TENANT)) == (before, state)
    later = await world.approval(TENANT, "e70", version=2)
    assert await world.handle(curation, event(TENANT, later, world)) is Outcome.EFFECT
    stale = await world.handle(curation, event(TENANT, first.evolve(reviewer_id="rev-2"), world))
    assert stale is Outcome.NOOP_STALE, "a later version counts, whatever was said of this one"


async def test_the_second_of_two_rejections_or_withdrawals_is_refused_and_the_first_one_holds(world: World) -> None:
    curation = service(world, "curation")
    rejected = events.ExampleRejected(example_id="e71", version=1, reviewer_id="rev-1", reason_code="unclear")
    withdrawn = events.ExampleWithdrawn(example_id="e72", reason_code="patient-request")
    for first, second in (
        (rejected, rejected.evolve(reviewer_id="rev-2")),
        (rejected, rejected.evolve(reason_code="duplicate")),
        (withdrawn, withdrawn.evolve(reason_code="other")),
    ):
        await world.handle(curation, event(TENANT, first, world))
        with pytest.raises(Contradicted):
            await world.handle(curation, event(TENANT, second, world))
        assert await world.handle(curation, event(TENANT, first, world)) is Outcome.NOOP_DUPLICATE


async def test_the_second_of_two_commands_under_one_run_or_export_is_refused(world: World) -> None:
    training, exporting, ledger = (service(world, name) for name in ("training", "export", "ledger"))
    run = events.TrainingRequested(run_id="r73", trigger="operator", hyperparameters=POLICY.hyperparameters)
    other = POLICY.hyperparameters.evolve(seed=99)
    export = events.ExportRequested(export_id="x73", adapter_digest=await active(world), requested_by="op")
    used = events.UsageRecorded(usage_id="u73", source="inference", prompt_tokens=1)
    for found, first, changed in (
        (training, run, {"hyperparameters": other}),
        (training, run, {"trigger": "policy"}),
        (exporting, export, {"adapter_digest": DIGEST}),
        (ledger, used, {"prompt_tokens": 2}),
    ):
        await world.handle(found, event(TENANT, first, world))
        with pytest.raises(Contradicted):
            await world.handle(found, event(TENANT, first.evolve(**changed), world))
        assert await world.handle(found, event(TENANT, first, world)) is Outcome.NOOP_DUPLICATE


async def test_every_type_that_says_what_became_of_a_purge_a_run_or_an_adapter_is_checked(world: World) -> None:
    """A new type of such an event needs a check in consumers/ledger/confirming.py, and a sample here."""
    digest, activations = await active(world), (await world.state(TENANT)).activations
    checked = {type(data) for data in denied(world, digest, activations).values()}
    said = {type(data) for data in samples(world, TENANT, digest, await world.approval(TENANT, "e80"))}
    of_those = ("sano.purge.", "sano.training.", "sano.adapter.", "sano.replica.")
    commands = {events.PurgeRequested, events.TrainingRequested}
    assert {kind for kind in said if kind.type.startswith(of_those)} - commands == checked


async def test_a_second_approval_is_a_dead_letter_and_stands_in_the_log_as_what_it_is(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    await world.onboard(TENANT)
    first = await world.approval(TENANT, "e1")
    await world.publish(TENANT, first)
    await world.publish(TENANT, first.evolve(reviewer_id="rev-2"))
    await world.publish(TENANT, first)
    await world.settle()
    (letter,) = world.bus.dead
    assert dict(letter.headers)["dlq_reason"] == b"contradicted"
    assert "rev-2" not in str(world.errors)
    approved = [outcome for name, kind, outcome in world.outcomes if (name, kind) == ("curation", first.type)]
    assert approved == [Outcome.EFFECT, Outcome.DEAD_LETTERED, Outcome.NOOP_DUPLICATE]
    entry, *about = await entries(world)
    assert entry.kind == "example.approved"
    assert sorted(one.kind for one in about) == [CONTRADICTED, "event.dead_lettered"]
    assert {one.facts["about"] for one in about} == {entry.tag}
