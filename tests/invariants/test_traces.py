"""One trace from what was asked for to everything that follows from it, in whatever process and however much later."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.platform.tracing import continued
from tenancy.tenant_id import TenantId
from tests.invariants.test_withdrawals import policy, trained
from tests.invariants.worlds import learned
from tests.world.bus import Service
from tests.world.world import POLICY, World

BY_HAND = POLICY.evolve(automatic_training=False)


class TracedWorld(World):
    """Whose handlers run in the trace of their event, as the runtime has it. Periodic work is in none."""

    async def handle(self, service: Service, event: Event) -> Outcome | None:
        with continued(event.traceparent):
            return await super().handle(service, event)

    def traces(self, *types: type[events.EventData]) -> dict[str, set[str]]:
        """The ids of the traces in which events of these types were published."""
        found: dict[str, set[str]] = {kind.type: set() for kind in types}
        for event in (event for log in self.bus.topics.values() for event in log):
            if event.type in found:
                found[event.type].add(str(event.traceparent).split("-")[1])
        return found


async def trace_of(world: World, tenant: TenantId, data: events.EventData) -> str:
    """Publish it; the id of the trace that begins with it."""
    await world.publish(tenant, data)
    return str(world.bus.topics[data.topic][-1].traceparent).split("-")[1]


@pytest.fixture
async def world(tmp_path: Path) -> TracedWorld:
    return TracedWorld(tmp_path)


async def test_traceable_what_a_training_leads_to_is_in_the_trace_of_its_request(world: TracedWorld) -> None:
    tenant = await world.onboard("t1", BY_HAND)
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()
    asked = await trace_of(world, tenant, events.TrainingRequested(run_id="r1", trigger="operator"))
    await world.settle()
    led_to = (events.TrainingStarted, events.TrainingCompleted, events.AdapterReady, events.AdapterActivated)
    assert world.traces(*led_to) == {kind.type: {asked} for kind in led_to}


async def test_traceable_what_a_withdrawal_leads_to_is_in_its_trace(world: TracedWorld) -> None:
    tenant, _ = await trained(world, policy("retrain"))
    withdrawn = await trace_of(world, tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    before = len(world.bus.topics[events.TRAINING])
    await world.settle()
    requested = world.bus.topics[events.TRAINING][before]
    assert isinstance(requested.data, events.TrainingRequested)
    assert str(requested.traceparent).split("-")[1] == withdrawn
    assert world.traces(events.AdapterRetired) == {events.AdapterRetired.type: {withdrawn}}


async def test_traceable_what_a_churn_leads_to_is_in_its_trace(world: TracedWorld) -> None:
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    churned = await trace_of(world, tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    led_to = (events.PurgeRequested, events.PurgeFenced, events.PurgeCompleted)
    assert world.traces(*led_to) == {kind.type: {churned} for kind in led_to}
