"""What a canary's numbers say, and that the ledger ends it by them once, whatever comes twice or late."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.ledger.canaries import Canaries
from consumers.ledger.handlers import on_usage_recorded
from consumers.ledger.ports import LedgerPorts
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterActivated, AdapterRolledBack, AnswersCounted, CanaryAnswers, UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, CanaryState, TenantState
from schemas.objects.usage import Report
from schemas.tenant.policy import TenantPolicy
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.lifecycle.canaries import Verdict, answers_of, verdict
from tenancy.state.activation import canaried, rolled_back
from tenancy.state.registry import entry_data
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TENANT = TenantId("t1")
ACTIVE, CANDIDATE = "a" * 64, "c" * 64
POLICY = TenantPolicy(canary_decision="metrics")
CANARY = CanaryState(adapter_digest=CANDIDATE, percent=10, activation=2, began_at=NOON)
GOOD: dict[str, Any] = {"answers": 200, "seconds": 200.0}
BESIDE: dict[str, Any] = {"answers": 2000, "errors": 20, "refusals": 40, "rated_down": 20, "seconds": 1980.0}


def compared(candidate: dict[str, Any], active: dict[str, Any] = BESIDE, activation: int = 2) -> CanaryAnswers:
    return CanaryAnswers(
        activation=activation,
        candidate=AnswersCounted.model_validate(candidate),
        active=AnswersCounted.model_validate(active),
    )


def said(candidate: dict[str, Any], hours: float, active: dict[str, Any] = BESIDE) -> tuple[str, str]:
    found = verdict(POLICY, CANARY, compared(candidate, active), NOON + timedelta(hours=hours))
    return found.decision, found.reason_code


@pytest.mark.parametrize(
    ("candidate", "hours", "expected"),
    [
        (GOOD, 24, ("promote", "within-bounds")),
        (GOOD, 23.9, ("wait", "too-early")),
        ({**GOOD, "answers": 199}, 24, ("wait", "too-few-answers")),
        ({**GOOD, "answers": 199}, 168, ("roll-back", "too-few-answers")),
        ({}, 0, ("wait", "too-few-answers")),
        # As often as the active adapter, or by the points more.
        ({**GOOD, "errors": 4, "refusals": 14, "rated_down": 6}, 24, ("promote", "within-bounds")),
        # A little more: in doubt, which the time ends.
        ({**GOOD, "errors": 5}, 24, ("wait", "errors")),
        ({**GOOD, "errors": 5}, 168, ("roll-back", "errors")),
        # Far more, at once.
        ({**GOOD, "errors": 40}, 0, ("roll-back", "errors")),
        ({**GOOD, "refusals": 60}, 0, ("roll-back", "refusals")),
        ({**GOOD, "rated_down": 40}, 0, ("roll-back", "feedback")),
        ({"answers": 20, "errors": 20}, 0, ("roll-back", "errors")),
        ({"answers": 19, "errors": 19}, 0, ("wait", "too-few-answers")),
        ({"answers": 20, "errors": 1}, 0, ("wait", "too-few-answers")),
        ({**GOOD, "seconds": 250.0}, 24, ("promote", "within-bounds")),
        ({**GOOD, "seconds": 251.0}, 24, ("wait", "latency")),
        ({**GOOD, "seconds": 251.0}, 168, ("roll-back", "latency")),
        ({**GOOD, "seconds": 500.0}, 0, ("wait", "latency")),
        ({**GOOD, "seconds": 501.0}, 0, ("roll-back", "latency")),
        ({"answers": 100, "seconds": 251.0}, 0, ("roll-back", "latency")),
        ({"answers": 99, "seconds": 990.0}, 0, ("wait", "too-few-answers")),
        ({"answers": 101, "errors": 2, "seconds": 990.0}, 0, ("wait", "too-few-answers")),
    ],
)
def test_a_canary_is_promoted_rolled_back_or_left_by_the_bounds_of_the_policy(
    candidate: dict[str, Any], hours: float, expected: tuple[str, str]
) -> None:
    assert said(candidate, hours) == expected


def test_beside_nothing_a_canary_is_measured_by_the_points_alone() -> None:
    assert said({**GOOD, "errors": 2}, 24, {}) == ("promote", "within-bounds")
    assert said({**GOOD, "errors": 3}, 24, {}) == ("wait", "errors")


def test_feedback_on_earlier_answers_is_no_rate_above_one() -> None:
    assert verdict(POLICY, CANARY, compared({"answers": 30, "rated_down": 90}), NOON) == Verdict(
        "roll-back", "feedback"
    )


class Ledger:
    """The ledger's handler and its look at canaries, beside a tenant with a canary."""

    def __init__(self) -> None:
        self.now = NOON
        self.objects = MemoryObjectStore()
        self.publisher = RecordingPublisher()
        self.tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(32)), self.publisher, "/sanolith/ledger", lambda: self.now
        )
        checkpointer = Checkpointer(self.tenancy.audit, AllKeys.numbered(2))
        self.ports = LedgerPorts(self.tenancy, checkpointer, 256)
        self.canaries = self.another()

    def another(self) -> Canaries:
        """Another process of the ledger."""
        return Canaries(self.tenancy, self.ports.counters, self.ports.reported)

    async def start(self, policy: TenantPolicy = POLICY) -> None:
        adapters = {
            digest: AdapterState(
                status="ready",
                run_id=f"run-{fence}",
                fence=fence,
                training_set_id="0" * 64,
                base_model_digest="0" * 64,
                size_bytes=1,
                published_at=NOON,
            )
            for fence, digest in enumerate((ACTIVE, CANDIDATE), 1)
        }
        await self.tenancy.keys.create(TENANT)
        state = TenantState(
            tenant=TENANT, nonce="n", policy=policy, adapters=adapters, active_adapter=ACTIVE, activations=1
        )
        await self.tenancy.states.create(state)
        await self.tenancy.outbox.swap(TENANT, canaried(CANDIDATE, 10, self.tenancy.outbox.entry))

    async def report(self, number: int, counted: CanaryAnswers, day: str = "20261124") -> Outcome:
        data = UsageRecorded(usage_id=Report(day, "a" * 32, number).usage_id, source="inference", canaries=(counted,))
        event = Event(subject=TENANT, data=data, time=NOON, source="/sanolith/inference")
        return await on_usage_recorded(event, self.ports)

    async def state(self) -> TenantState:
        return (await self.tenancy.states.read(TENANT)).state


@pytest.fixture
async def ledger() -> Ledger:
    made = Ledger()
    await made.start()
    return made


async def test_a_good_canary_is_promoted_by_what_all_its_days_add_up_to(ledger: Ledger) -> None:
    await ledger.report(1, compared({"answers": 150, "seconds": 150.0}))
    ledger.now += timedelta(hours=24)
    await ledger.canaries.reconcile()
    assert (await ledger.state()).canary is not None
    await ledger.report(1, compared({"answers": 50, "seconds": 50.0}), "20261125")
    await ledger.canaries.reconcile()
    state = await ledger.state()
    assert (state.active_adapter, state.canary) == (CANDIDATE, None)
    assert state.ended_canary is not None
    assert (state.ended_canary.decision, state.ended_canary.reason_code) == ("promote", "within-bounds")
    [owed] = [entry_data(entry) for entry in state.outbox]
    assert owed == AdapterActivated(
        adapter_digest=CANDIDATE, previous_digest=ACTIVE, activation=3, reason_code="within-bounds"
    )
    markers = [key async for key in ledger.objects.keys(object_keys.open_work_prefix("training"))]
    assert markers == [object_keys.open_work("training", TENANT)], "its runner publishes what the swap owes"


async def test_a_bad_canary_is_rolled_back_and_the_event_says_why(ledger: Ledger) -> None:
    await ledger.report(1, compared({"answers": 30, "errors": 15}))
    await ledger.canaries.reconcile()
    state = await ledger.state()
    assert (state.active_adapter, state.canary) == (ACTIVE, None)
    assert state.adapters[CANDIDATE].rolled_back
    assert entry_data(state.outbox[-1]) == AdapterRolledBack(
        adapter_digest=ACTIVE, previous_digest=CANDIDATE, activation=3, reason_code="errors"
    )


async def test_a_report_that_comes_again_counts_once(ledger: Ledger) -> None:
    counted = compared({"answers": 10, "errors": 6})
    assert await ledger.report(1, counted) is Outcome.EFFECT
    for _ in range(3):
        assert await ledger.report(1, counted) is Outcome.NOOP_DUPLICATE
    await ledger.canaries.reconcile()
    state = await ledger.state()
    assert state.canary is not None
    assert await answers_of(await ledger.tenancy.store(TENANT), state.canary, NOON) == counted


async def test_looks_of_two_processes_and_repeated_ones_end_a_canary_once(ledger: Ledger) -> None:
    await ledger.report(1, compared({"answers": 30, "errors": 15}))
    await asyncio.gather(*(one.look_at(TENANT) for one in (ledger.canaries, ledger.another())))
    await ledger.another().look_at(TENANT)
    state = await ledger.state()
    assert (len(state.outbox), state.activations) == (1, 3)


async def test_a_process_that_died_before_it_looked_is_made_up_for_by_the_next_report(ledger: Ledger) -> None:
    await ledger.report(1, compared({"answers": 30, "errors": 15}))
    ledger.ports.reported.clear()
    await ledger.report(2, compared({}))
    await ledger.another().reconcile()
    assert (await ledger.state()).canary is None


async def test_a_canary_that_is_begun_again_counts_from_zero_and_another_share_goes_on(ledger: Ledger) -> None:
    entry = ledger.tenancy.outbox.entry
    await ledger.report(1, compared({"answers": 15, "errors": 8}))
    await ledger.tenancy.outbox.swap(TENANT, canaried(CANDIDATE, 50, entry))
    wider = (await ledger.state()).canary
    assert wider is not None and (wider.percent, wider.activation) == (50, 2)
    await ledger.tenancy.outbox.swap(TENANT, rolled_back(None, entry))
    await ledger.tenancy.outbox.swap(TENANT, canaried(CANDIDATE, 10, entry))
    again = (await ledger.state()).canary
    assert again is not None and again.activation == 5
    await ledger.report(2, compared({"answers": 15, "errors": 8}))  # late, of the first time
    await ledger.canaries.reconcile()
    assert (await ledger.state()).canary == again


async def test_an_operators_canary_is_left_to_the_operator() -> None:
    ledger = Ledger()
    await ledger.start(TenantPolicy())
    await ledger.report(1, compared({"answers": 30, "errors": 30}))
    await ledger.canaries.reconcile()
    assert (await ledger.state()).canary is not None


async def test_a_fenced_tenants_canary_is_not_judged_and_stops_no_other_look(ledger: Ledger) -> None:
    await ledger.report(1, compared({"answers": 30, "errors": 30}))
    await ledger.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging"))
    await ledger.canaries.reconcile()
    assert ledger.ports.reported == set()
