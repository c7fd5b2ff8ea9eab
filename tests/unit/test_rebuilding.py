"""Rebuilding a history elsewhere: what is sent, what is waited for, and what is noted as missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from producers.queries.waiting import WaitedTooLong
from producers.replay.handling import Handling
from producers.replay.journal import Sent
from producers.replay.rebuilding import CONCLUSIONS, CausalOrder, is_conclusion, milestone
from producers.replay.running import Target
from schemas.bus import events
from schemas.bus.content import ClaimCheck, Committed, CommittedDocument, DocumentClaimCheck
from schemas.bus.derived_commands import churn_id, churn_purge_id
from schemas.bus.envelope import DataT, Event, decode
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, RunState
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.unit.replay_parts import START, Installation
from tests.unit.test_services_page import SERVICES, events_made_in, sources

FROM_OUTSIDE = {
    events.TenantOnboarded,
    events.PolicyChanged,
    events.TenantChurned,
    events.ExportRequested,
    events.ExportAcknowledged,
    events.PurgeRequested,
    events.ExampleProposed,
    events.ExampleReviewed,
    events.ExampleApproved,
    events.ExampleRejected,
    events.ExampleWithdrawn,
    events.ConsentGranted,
    events.ConsentRevoked,
    events.TrainingRequested,
    events.DocumentUpserted,
    events.DocumentRemoved,
    events.UsageRecorded,
    events.OutcomeRecorded,  # in no replay
}


def test_every_type_is_either_sent_or_concluded_again() -> None:
    """A new type of event has to be decided upon: can an installation come to it by itself?"""
    assert set(events.EVENT_TYPES.values()) == FROM_OUTSIDE | set(CONCLUSIONS)
    assert not FROM_OUTSIDE & set(CONCLUSIONS)


def test_of_what_services_publish_all_but_their_commands_and_usage_is_concluded_again_by_its_type() -> None:
    """A command that a service gives is known by its id, and usage by its source. A decision that reviews or a missed
    identifier lead to is sent like any other: it has the id of the one that curation comes to again.
    """
    made = {model for service in SERVICES for model in events_made_in(sources(service))}
    decisions = {events.ExampleApproved, events.ExampleRejected, events.ExampleWithdrawn}
    known_otherwise = {events.TrainingRequested, events.PurgeRequested, events.UsageRecorded}
    assert made - set(CONCLUSIONS) == known_otherwise | decisions


def event(data: DataT, cause: str | None = None, tenant: str = "t1") -> Event[DataT]:
    return Event(subject=tenant, data=data, time=START, source="/x", causation_id=cause)


def requested(run_id: str, trigger: Literal["policy", "operator"] = "policy") -> events.TrainingRequested:
    return events.TrainingRequested(run_id=run_id, trigger=trigger)


def purge(purge_id: str) -> events.PurgeRequested:
    return events.PurgeRequested(purge_id=purge_id, reason_code="churned", requested_by="op")


def left_to(event_type: str) -> str:
    return f"left to the installation to conclude: {event_type}"


def ready(run: str = "r", digest: str = "a" * 64) -> events.AdapterReady:
    return events.AdapterReady(adapter_digest=digest, run_id=run, base_model_digest="b" * 64, size_bytes=1)


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (requested("batch-12"), "approval"),
        (requested("retrain-withdrawal"), "withdrawal"),
        (purge(churn_purge_id("t1")), churn_id("t1")),
    ],
    ids=str,
)
def test_a_command_that_a_service_gives_is_concluded_again(command: events.EventData, cause: str) -> None:
    assert is_conclusion(event(command, cause))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (requested("batch-12", "operator"), "ticket-7"),
        (requested("batch-12"), None),
        (requested("batch-of-march"), "ticket-7"),
        (requested("retrain-another"), "withdrawal"),
        (purge("purge-1"), churn_id("t1")),
        (purge(churn_purge_id("t1")), "ticket-7"),
        (purge(churn_purge_id("t2")), churn_id("t2")),
        (events.ConsentGranted(consent_id="c", version=1), "visit-3"),
        (events.ExampleWithdrawn(example_id="e", reason_code="patient-request"), "visit-3"),
        (events.UsageRecorded(usage_id="u", source="inference"), "visit-3"),
        (events.ExportRequested(export_id="x", requested_by="op"), "ticket-7"),
    ],
    ids=str,
)
async def test_what_people_and_integrations_publish_is_sent_whatever_it_names_as_its_cause(
    data: events.EventData, cause: str | None
) -> None:
    here = Elsewhere()
    assert await here.order.is_to_be_sent(event(data, cause))
    assert here.order.notes() == {}


async def test_what_is_left_to_the_installation_is_counted_by_type() -> None:
    here = Elsewhere()
    started = events.TrainingStarted(run_id="batch-1", fence=1)
    used = events.UsageRecorded(usage_id="batch-1", source="training", training_tokens=9)
    asked = [event(requested(run_id), "approval") for run_id in ("batch-1", "batch-2")]
    for left in (*asked, event(started), event(used)):
        assert not await here.order.is_to_be_sent(left)
    assert here.order.notes() == {
        left_to("sano.training.requested"): 2,
        left_to("sano.training.started"): 1,
        left_to("sano.usage.recorded"): 1,
    }


def test_an_adapter_is_the_same_milestone_whatever_its_weights() -> None:
    assert milestone(event(ready(digest="a" * 64))) == milestone(event(ready(digest="c" * 64)))
    assert milestone(event(ready("r"))) != milestone(event(ready("s")))
    one = events.AdapterActivated(adapter_digest="a" * 64, previous_digest=None, activation=1)
    assert milestone(event(one)) != milestone(event(one.evolve(activation=2)))


@dataclass
class Elsewhere:
    """An empty installation, and the order in which a run sends to it."""

    made: Installation = field(default_factory=Installation)
    waited: list[tuple[str, ...]] = field(default_factory=list)
    sent: tuple[Sent, ...] = ()
    order: CausalOrder = field(init=False)

    def __post_init__(self) -> None:
        target = Target("elsewhere", self.made.log, self.made.tenancy)
        handling = Handling(self.made.log, self.made.tenancy, 0.2)
        waited = self.waited

        @dataclass(frozen=True)
        class Noted(Handling):
            async def of(self, topics: Any) -> None:
                waited.append(tuple(topics))
                await super().of(topics)

        self.order = CausalOrder(target, Noted(handling.log, handling.tenancy, 0.2), 0.2, sent=self.sent)

    async def send(self, *some: Event) -> None:
        for one in some:
            assert await self.order.is_to_be_sent(one)
            self.order.was_sent(one)


GRANTED = events.ConsentGranted(consent_id="c", version=1)
USED = events.UsageRecorded(usage_id="u", source="storage")
BY_HAND = requested("by-hand", "operator")
ONBOARDED = events.TenantOnboarded(policy=TenantPolicy(), public_key_thumbprint="k" * 43)
ASKED = events.ExportRequested(export_id="x", requested_by="op")


async def test_before_an_event_of_another_topic_everything_of_its_tenant_is_handled() -> None:
    here = Elsewhere()
    await here.send(event(GRANTED), event(GRANTED), event(BY_HAND), event(BY_HAND), event(GRANTED))
    assert here.waited == [(events.CURATION,), (events.TRAINING,)]


async def test_one_tenant_does_not_wait_for_another() -> None:
    here = Elsewhere()
    for _ in range(3):
        await here.send(event(GRANTED), event(BY_HAND, tenant="t2"))
    assert here.waited == []
    await here.send(event(BY_HAND))
    assert here.waited == [(events.CURATION,)]
    await here.send(event(GRANTED, tenant="t2"))
    assert here.waited == [(events.CURATION,), (events.TRAINING,)], "both tenants' requests were handled by then"
    await here.send(event(GRANTED))
    assert here.waited == [(events.CURATION,), (events.TRAINING,)]


async def test_usage_waits_for_nothing_but_its_tenant_and_nothing_waits_for_it() -> None:
    here = Elsewhere()
    await here.send(event(ONBOARDED), event(USED), event(GRANTED), event(USED), event(GRANTED))
    assert here.waited == [(events.TENANTS,)]
    await here.send(event(BY_HAND))
    assert here.waited == [(events.TENANTS,), (events.CURATION,)]


async def test_nothing_of_a_tenant_is_sent_before_it_is_made_on_whatever_topic() -> None:
    """Another group than the one that makes it reads the same topic, and may be faster."""
    here = Elsewhere()
    await here.send(event(ONBOARDED), event(ASKED), event(ASKED))
    assert here.waited == [(events.TENANTS,)]


async def test_what_an_interrupted_run_has_sent_is_handled_before_an_event_of_another_topic() -> None:
    line = Sent(topic=events.CURATION, partition=0, offset=0, event_id="e", type=GRANTED.type, subject="t1")
    here = Elsewhere(sent=(line,))
    await here.send(event(BY_HAND))
    assert here.waited == [(events.CURATION,)]


async def test_a_conclusion_is_not_sent_and_returns_once_the_installation_has_come_to_it() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    await here.made.publish("t1", ready(digest="c" * 64))
    assert not await here.order.is_to_be_sent(event(ready(digest="a" * 64)))
    assert here.order.notes() == {left_to("sano.adapter.ready"): 1}


async def test_what_an_installation_at_rest_did_not_come_to_is_noted_and_the_replay_goes_on() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    assert not await here.order.is_to_be_sent(event(ready()))
    assert here.order.notes() == {
        left_to("sano.adapter.ready"): 1,
        "not concluded again: sano.adapter.ready": 1,
    }


async def test_an_unfinished_run_is_waited_for() -> None:
    here = Elsewhere()
    tenant = await here.made.tenant("t1")
    run = RunState(status="running", requested_at=START)
    await here.made.tenancy.states.swap(tenant, lambda state: state.evolve(runs={"r": run}))
    with pytest.raises(WaitedTooLong, match=r"sano\.adapter\.ready in elsewhere"):
        await here.order.is_to_be_sent(event(ready()))


@pytest.mark.parametrize("has_text", [True, False])
async def test_an_approval_is_sent_only_where_its_text_is(has_text: bool) -> None:
    here = Elsewhere()
    reference = ClaimCheck(example_id="e", version=1)
    approved = events.ExampleApproved(
        example_id="e", version=1, reviewer_id="r", content=Committed(reference=reference, commitment="a" * 64)
    )
    if has_text:
        key = object_keys.tenant_key(TenantId("t1"), object_keys.content("e", 1))
        await here.made.objects.put(key, b"sealed")
    assert await here.order.is_to_be_sent(event(approved)) == has_text
    assert here.order.notes() == ({} if has_text else {"approvals and documents whose text is not there": 1})


@pytest.mark.parametrize("has_text", [True, False])
async def test_a_document_is_sent_only_where_its_text_is(has_text: bool) -> None:
    """A version that another has replaced has none: sent, it would be a dead letter, at which a replay stops."""
    here = Elsewhere()
    reference = DocumentClaimCheck(document_id="d", version=1)
    upserted = events.DocumentUpserted(
        document_id="d", version=1, content=CommittedDocument(reference=reference, commitment="a" * 64)
    )
    if has_text:
        key = object_keys.tenant_key(TenantId("t1"), object_keys.document("d", 1))
        await here.made.objects.put(key, b"sealed")
    assert await here.order.is_to_be_sent(event(upserted)) == has_text
    assert here.order.notes() == ({} if has_text else {"approvals and documents whose text is not there": 1})


async def with_adapters(here: Elsewhere, **changes: Any) -> TenantId:
    """A tenant with two ready adapters."""
    tenant = await here.made.tenant("t1")
    await here.made.tenancy.keys.create(tenant)
    adapter = AdapterState(
        status="ready",
        run_id="r",
        fence=1,
        training_set_id="b" * 64,
        base_model_digest="b" * 64,
        size_bytes=1,
        published_at=START,
    )
    changes |= {"adapters": {FIRST: adapter, SECOND: adapter}}
    await here.made.tenancy.states.swap(tenant, lambda state: state.evolve(**changes))
    return tenant


FIRST, SECOND = "a" * 64, "c" * 64
SECOND_IS_ACTIVE = {"active_adapter": SECOND, "adapter_history": (FIRST,), "activations": 2}
ACTIVATED = events.AdapterActivated(adapter_digest=FIRST, previous_digest=None, activation=1)
ROLLED_BACK = events.AdapterRolledBack(adapter_digest=FIRST, previous_digest=SECOND, activation=3)


@pytest.mark.parametrize(
    ("before", "change"),
    [({}, ACTIVATED), (SECOND_IS_ACTIVE, ROLLED_BACK)],
    ids=["activation", "rollback"],
)
async def test_an_operators_change_of_the_active_adapter_is_done_again_in_the_operators_name(
    before: dict[str, Any], change: events.AdapterActivated | events.AdapterRolledBack
) -> None:
    here = Elsewhere()
    tenant = await with_adapters(here, **before)
    by_operator = change.evolve(requested_by="op-7")
    assert not await here.order.is_to_be_sent(event(by_operator))
    assert (await here.made.tenancy.states.read(tenant)).state.active_adapter == FIRST
    assert here.order.notes() == {left_to(change.type): 1}
    [said] = here.made.held(events.ADAPTERS)
    assert decode(said.key, said.value, said.headers).data == by_operator


@pytest.mark.parametrize(
    ("before", "change"),
    [({}, ACTIVATED), (SECOND_IS_ACTIVE, ROLLED_BACK)],
    ids=["activation", "rollback"],
)
@pytest.mark.parametrize("cause", [None, event(ready(digest=FIRST)).id], ids=["no cause", "readiness"])
async def test_what_a_service_changed_is_waited_for_and_not_done_again(
    before: dict[str, Any], change: events.AdapterActivated | events.AdapterRolledBack, cause: str | None
) -> None:
    """A new adapter is activated, or a retirement returns to an earlier one, as what it follows from is done again."""
    here = Elsewhere()
    tenant = await with_adapters(here, **before)
    was = (await here.made.tenancy.states.read(tenant)).state
    assert not await here.order.is_to_be_sent(event(change, cause))
    assert (await here.made.tenancy.states.read(tenant)).state == was
    assert here.order.notes() == {left_to(change.type): 1, f"not concluded again: {change.type}": 1}


async def test_an_operators_activation_that_cannot_be_done_again_is_noted() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    activated = ACTIVATED.evolve(requested_by="op-7")
    assert not await here.order.is_to_be_sent(event(activated))
    assert here.order.notes() == {
        left_to("sano.adapter.activated"): 1,
        "not concluded again: sano.adapter.activated": 1,
    }
