"""What a swap owes to the bus is published whatever dies, and under the same id when twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.bus.envelope import Event
from schemas.bus.events import AdapterActivated, EventData, TrainingRequested
from schemas.objects.state import OutboxEntry, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable
from tenancy.platform.clock import Clock
from tenancy.state.outbox import Outbox
from tenancy.state.registry import Change, StateRegistry, with_events
from tenancy.storage.objects import ObjectStore
from tests.contract.conftest import START, TENANT, SteppedClock


class Died(BaseException):
    """The process is gone; no handler of errors runs."""


@dataclass
class DyingPublisher(RecordingPublisher):
    """Dies before or after the n-th publication."""

    dies_before: int = 0
    dies_after: int = 0
    calls: int = 0

    async def publish(self, event: Event) -> None:
        self.calls += 1
        if self.calls == self.dies_before:
            raise Died
        await super().publish(event)
        if self.calls == self.dies_after:
            raise Died


@dataclass
class Requests:
    """Makes events that a swap may owe."""

    outbox: Outbox
    made: list[EventData] = field(default_factory=list)

    def owed(self, *numbers: int) -> Change:
        data = [TrainingRequested(run_id=f"run-{number}", trigger="policy") for number in numbers]
        entries = [self.outbox.entry(item, "cause-1") for item in data]
        return lambda state: with_events(state, *entries)


def outbox_on(objects: ObjectStore, publisher: RecordingPublisher, clock: Clock) -> Outbox:
    return Outbox(StateRegistry(objects, clock), publisher, "/sanolith/test", clock)


async def owes(tenancy: Tenancy) -> int:
    return len((await tenancy.states.read(TENANT)).state.outbox)


def runs(publisher: RecordingPublisher) -> list[str]:
    return [event.data.natural_key() for event in publisher.events]


@pytest.fixture
def requests(tenancy: Tenancy, onboarded: TenantState) -> Requests:
    return Requests(tenancy.outbox)


async def test_a_swap_publishes_what_it_owes_and_strikes_it_out(
    tenancy: Tenancy, publisher: RecordingPublisher, requests: Requests
) -> None:
    snapshot = await tenancy.outbox.swap(TENANT, requests.owed(1, 2))
    assert runs(publisher) == ["run-1", "run-2"], "in the order in which they were owed"
    assert snapshot.state.outbox == ()
    event = publisher.events[0]
    assert (event.subject, event.causation_id, event.source) == (TENANT, "cause-1", "/sanolith/test")


async def test_a_swap_that_owes_nothing_writes_once(tenancy: Tenancy, onboarded: TenantState) -> None:
    snapshot = await tenancy.outbox.swap(TENANT, lambda state: state.evolve(fence=1))
    assert snapshot.state.rev == onboarded.rev + 1


async def test_a_crash_between_swap_and_publication_loses_nothing(
    tenancy: Tenancy, objects: ObjectStore, publisher: RecordingPublisher, requests: Requests
) -> None:
    dying = DyingPublisher(dies_before=1)
    with pytest.raises(Died):
        await outbox_on(objects, dying, tenancy.clock).swap(TENANT, requests.owed(1))
    assert (dying.events, await owes(tenancy)) == ([], 1)
    await tenancy.outbox.flush(TENANT)
    assert (runs(publisher), await owes(tenancy)) == (["run-1"], 0)
    await tenancy.outbox.flush(TENANT)
    assert runs(publisher) == ["run-1"], "what was paid is not paid again"


async def test_a_crash_after_publication_publishes_again_under_the_same_id(
    tenancy: Tenancy, objects: ObjectStore, publisher: RecordingPublisher, requests: Requests, clock: SteppedClock
) -> None:
    dying = DyingPublisher(dies_after=1)
    with pytest.raises(Died):
        await outbox_on(objects, dying, tenancy.clock).swap(TENANT, requests.owed(1))
    clock.step(3600)
    await tenancy.outbox.flush(TENANT)
    assert [event.id for event in publisher.events] == [event.id for event in dying.events]
    assert publisher.events[0].time == START, "the event's time is that of the swap, not of the repair"


async def test_a_crash_in_the_middle_leaves_the_rest_owed_and_the_repair_keeps_the_order(
    tenancy: Tenancy, objects: ObjectStore, publisher: RecordingPublisher, requests: Requests
) -> None:
    dying = DyingPublisher(dies_before=2)
    with pytest.raises(Died):
        await outbox_on(objects, dying, tenancy.clock).swap(TENANT, requests.owed(1, 2, 3))
    await tenancy.outbox.swap(TENANT, requests.owed(4))
    assert (runs(dying), runs(publisher)) == (["run-1"], ["run-1", "run-2", "run-3", "run-4"])
    assert await owes(tenancy) == 0


async def test_a_bus_that_does_not_answer_leaves_the_debt_standing(
    tenancy: Tenancy, objects: ObjectStore, requests: Requests
) -> None:
    class Away(RecordingPublisher):
        async def publish(self, event: Event) -> None:
            raise BusUnavailable("away")

    with pytest.raises(BusUnavailable):
        await outbox_on(objects, Away(), tenancy.clock).swap(TENANT, requests.owed(1))
    assert await owes(tenancy) == 1


async def test_what_another_owes_meanwhile_is_not_struck_out(
    tenancy: Tenancy, objects: ObjectStore, publisher: RecordingPublisher, requests: Requests
) -> None:
    @dataclass
    class Interrupted(RecordingPublisher):
        async def publish(self, event: Event) -> None:
            await super().publish(event)
            if len(self.events) == 1:
                await tenancy.states.swap(TENANT, requests.owed(2))

    await outbox_on(objects, Interrupted(), tenancy.clock).swap(TENANT, requests.owed(1))
    assert [entry.data["run_id"] for entry in (await tenancy.states.read(TENANT)).state.outbox] == ["run-2"]
    await tenancy.outbox.flush(TENANT)
    assert runs(publisher) == ["run-2"]


async def test_an_event_of_a_type_that_only_a_newer_release_knows_waits_for_that_and_holds_up_no_other(
    tenancy: Tenancy, publisher: RecordingPublisher, requests: Requests
) -> None:
    """A process of the newer release died owing it, and the release was rolled back."""
    newer = OutboxEntry(event_type="sano.adapter.unheard_of", data={"a": 1}, time=START)
    await tenancy.states.swap(TENANT, lambda state: with_events(state, newer))
    snapshot = await tenancy.outbox.swap(TENANT, requests.owed(1))
    assert runs(publisher) == ["run-1"]
    assert snapshot.state.outbox == (newer,)
    assert (await tenancy.outbox.flush(TENANT)).state.rev == snapshot.state.rev, "nothing to write"


async def test_two_who_pay_at_once_pay_the_same_and_both_come_to_an_end(
    tenancy: Tenancy, objects: ObjectStore, publisher: RecordingPublisher, requests: Requests
) -> None:
    await tenancy.states.swap(TENANT, requests.owed(1, 2))
    owing_state = await tenancy.states.read(TENANT)
    await tenancy.outbox.flush(TENANT, owing_state)
    await tenancy.outbox.flush(TENANT, owing_state)
    assert [event.id for event in publisher.events[:2]] == [event.id for event in publisher.events[2:]]
    assert await owes(tenancy) == 0


async def test_moments_and_nulls_come_through_the_outbox_unchanged(
    tenancy: Tenancy, publisher: RecordingPublisher, onboarded: TenantState
) -> None:
    data: Any = AdapterActivated(adapter_digest="a" * 64, previous_digest=None, activation=1)
    await tenancy.outbox.swap(TENANT, lambda state: with_events(state, tenancy.outbox.entry(data)))
    assert publisher.events[0].data == data
