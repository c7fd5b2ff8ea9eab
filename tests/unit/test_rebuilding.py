"""Rebuilding a history elsewhere: what is sent, what is waited for, and what is noted as missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from producers.replay.handling import Handling
from producers.replay.rebuilding import CONCLUSIONS, CausalOrder, is_conclusion, milestone
from producers.replay.running import Target
from producers.waiting import WaitedTooLong
from schemas import events, object_keys
from schemas.content import ClaimCheck, Committed
from schemas.envelope import Event
from schemas.state import RunState
from tenancy.tenant_id import TenantId
from tests.unit.replay_parts import START, Installation

FROM_OUTSIDE = {
    events.TenantOnboarded,
    events.TenantChurned,
    events.ExportRequested,
    events.ExportAcknowledged,
    events.PurgeRequested,
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


def event(data: events.EventData, cause: str | None = None) -> Event:
    return Event(subject="t1", data=data, time=START, source="/x", causation_id=cause)


def ready(run: str = "r", digest: str = "a" * 64) -> events.AdapterReady:
    return events.AdapterReady(adapter_digest=digest, run_id=run, base_model_digest="b" * 64, size_bytes=1)


def test_a_command_that_follows_from_an_event_is_concluded_again() -> None:
    requested = events.TrainingRequested(run_id="batch-1", trigger="policy")
    assert is_conclusion(event(requested, cause="approval"))
    assert not is_conclusion(event(requested.model_copy(update={"trigger": "operator"})))


def test_an_adapter_is_the_same_milestone_whatever_its_weights() -> None:
    assert milestone(event(ready(digest="a" * 64))) == milestone(event(ready(digest="c" * 64)))
    assert milestone(event(ready("r"))) != milestone(event(ready("s")))
    one = events.AdapterActivated(adapter_digest="a" * 64, previous_digest=None, activation=1)
    assert milestone(event(one)) != milestone(event(one.model_copy(update={"activation": 2})))


@dataclass
class Elsewhere:
    """An empty installation, and the order in which a run sends to it."""

    made: Installation = field(default_factory=Installation)
    waited: list[tuple[str, ...]] = field(default_factory=list)
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

        self.order = CausalOrder(target, Noted(handling.log, handling.tenancy, 0.2), 0.2)


async def test_before_an_event_of_another_topic_everything_is_handled() -> None:
    here = Elsewhere()
    granted = event(events.ConsentGranted(consent_id="c", version=1))
    usage = event(events.UsageRecorded(usage_id="u", source="storage"))
    for sent in (granted, granted, usage):
        assert await here.order.is_to_be_sent(sent)
        here.order.was_sent(sent)
    assert here.waited == [(events.CURATION,)]


async def test_a_conclusion_is_not_sent_and_returns_once_the_installation_has_come_to_it() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    await here.made.publish("t1", ready(digest="c" * 64))
    assert not await here.order.is_to_be_sent(event(ready(digest="a" * 64)))
    assert here.order.notes() == {}


async def test_what_an_installation_at_rest_did_not_come_to_is_noted_and_the_replay_goes_on() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    assert not await here.order.is_to_be_sent(event(ready()))
    assert here.order.notes() == {"not concluded again: sano.adapter.ready": 1}


async def test_an_unfinished_run_is_waited_for() -> None:
    here = Elsewhere()
    tenant = await here.made.tenant("t1")
    run = RunState(status="running", requested_at=START)
    await here.made.tenancy.states.swap(tenant, lambda state: state.model_copy(update={"runs": {"r": run}}))
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
    assert here.order.notes() == ({} if has_text else {"approvals whose text is not there": 1})


async def test_an_operators_activation_that_cannot_be_done_again_is_noted() -> None:
    here = Elsewhere()
    await here.made.tenant("t1")
    activated = events.AdapterActivated(adapter_digest="a" * 64, previous_digest=None, activation=1)
    assert not await here.order.is_to_be_sent(event(activated))
    assert here.order.notes() == {"not concluded again: sano.adapter.activated": 1}
