"""Runs of events: what is taken at once, each event's own outcome, and what becomes of a run that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from consumers.runtime.crash_loops import CrashLoopGuard
from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.handling import Handling
from consumers.runtime.lane import LaneLimits
from consumers.runtime.lanes import LaneScheduler
from consumers.runtime.liveness import Progress
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.runs import RUN, InRuns
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable, KeyDestroyed, StoreUnavailable, TenantFenced, UnknownTenant
from tenancy.platform.clock import utc_now
from tests.fixtures.records import raw_record, record_of
from tests.unit.runtime_parts import POLICY, TELEMETRY, a_tenancy

PARTITION = (events.CURATION, 0)


def granted(offset: int, tenant: str = "t1") -> Any:
    made = Event(
        subject=tenant, data=events.ConsentGranted(consent_id=f"c{offset}", version=1), time=utc_now(), source="/test"
    )
    return record_of(made, offset=offset, partition=0, timestamp=1000 + offset)


def rejected(offset: int) -> Any:
    data = events.ExampleRejected(example_id=f"e{offset}", version=1, reviewer_id="r", reason_code="x")
    return record_of(Event(subject="t1", data=data, time=utc_now(), source="/test"), offset=offset, partition=0)


def garbage(offset: int) -> Any:
    return raw_record(events.CURATION, b"t1", b"x", (), offset=offset, partition=0)


@dataclass
class Stand:
    """A consumer whose handler of grants takes runs, and of rejections does not."""

    several: Callable[[Sequence[Event]], Sequence[Outcome]] = lambda run: [Outcome.EFFECT] * len(run)
    one: Callable[[Event], Outcome] = lambda event: Outcome.NOOP_DUPLICATE
    bus: RecordingPublisher = field(default_factory=RecordingPublisher)
    runs: list[list[str]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    most: int = RUN

    def __post_init__(self) -> None:
        tenancy = a_tenancy(self.bus)
        handlers: dict[type[events.EventData], Handler[None]] = {
            events.ConsentGranted: InRuns(self._one, self._several, self.most),
            events.ExampleRejected: self._one,
            events.OutcomeRecorded: InRuns(self._one, self._several),
        }
        policy = replace(POLICY, deadline_seconds=0.2)
        self.dispatcher = Dispatcher("curation", handlers, tenancy, None, TELEMETRY, policy)
        self.progress = Progress(60.0, 99)
        self.crash_loops = CrashLoopGuard("test", tenancy, 5, lambda _: 0)
        self.crash_loops.assigned([PARTITION, (events.OUTCOMES, 0)])
        self.handling = Handling(self.dispatcher, self.progress, self.crash_loops, Redeliveries(POLICY.deliveries))

    async def _one(self, event: Event, ports: Any) -> Outcome:
        self.alone.append(event.id)
        return self.one(event)

    async def _several(self, run: Sequence[Event], ports: Any) -> Sequence[Outcome]:
        self.runs.append([event.id for event in run])
        made = self.several(run)
        if asyncio.iscoroutine(made):
            await made
        return made

    async def begun(self) -> Stand:
        """The first record of a partition is handled by itself, as one that may end its process."""
        assert await self.handling.attempt([granted(0), granted(1)]) == 1
        assert (len(self.alone), self.runs) == (1, [])
        self.alone.clear()
        self.bus.events.clear()
        return self

    def told(self) -> list[Outcome]:
        return [event.data.outcome for event in self.bus.events if isinstance(event.data, events.OutcomeRecorded)]


async def test_like_events_in_a_row_are_taken_at_once_and_each_has_its_own_outcome() -> None:
    outcomes = [Outcome.EFFECT, Outcome.NOOP_STALE, Outcome.EFFECT]
    stand = await Stand(several=lambda run: outcomes).begun()
    records = [granted(1), granted(2), granted(3), rejected(4), granted(5)]
    assert await stand.handling.attempt(records) == 3
    assert (len(stand.runs[0]), stand.alone) == (3, [])
    assert stand.told() == outcomes
    deliveries = [e.data.delivery for e in stand.bus.events if isinstance(e.data, events.OutcomeRecorded)]
    assert deliveries == [f"{events.CURATION}/0/{offset}" for offset in (1, 2, 3)]


async def test_of_outcomes_that_are_passed_over_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def outcome(offset: int) -> Any:
        data = events.OutcomeRecorded(
            event_id=f"e{offset}",
            event_type="sano.consent.granted",
            consumer="curation",
            outcome=Outcome.EFFECT,
            delivery=f"{events.CURATION}/0/{offset}",
        )
        made = Event(subject="t1", data=data, time=utc_now(), source="/test")
        return record_of(made, offset=offset, partition=0, timestamp=1000 + offset)

    caplog.set_level("INFO")
    stand = Stand(several=lambda run: [Outcome.NOOP_DUPLICATE] * len(run))
    assert await stand.handling.attempt([outcome(0)]) == 1
    caplog.clear()
    assert await stand.handling.attempt([outcome(offset) for offset in (1, 2, 3)]) == 3
    assert ([len(run) for run in stand.runs], stand.bus.events) == ([3], [])
    assert not any(record.message == "handled" for record in caplog.records)


@pytest.mark.parametrize(
    "behind", [rejected(2), garbage(2), granted(2, "t2"), replace(granted(2), topic=events.TENANTS)]
)
async def test_what_is_unlike_the_first_ends_a_run(behind: Any) -> None:
    stand = await Stand().begun()
    assert await stand.handling.attempt([granted(1), behind, granted(3)]) == 1
    assert (stand.runs, len(stand.alone)) == ([], 1)


async def test_a_handler_is_offered_so_many_at_once_and_no_more() -> None:
    stand = await Stand(most=3).begun()
    assert await stand.handling.attempt([granted(n) for n in range(1, 9)]) == 3
    assert [len(run) for run in stand.runs] == [3]


async def test_a_handler_may_take_fewer_or_none_and_then_the_first_is_handled_by_itself() -> None:
    stand = await Stand(several=lambda run: [Outcome.EFFECT] * (len(run) - 2)).begun()
    assert await stand.handling.attempt([granted(n) for n in (1, 2, 3, 4)]) == 2
    assert stand.told() == [Outcome.EFFECT] * 2
    assert await stand.handling.attempt([granted(3), granted(4)]) == 1
    assert stand.told() == [Outcome.EFFECT] * 2 + [Outcome.NOOP_DUPLICATE]


async def test_a_fenced_tenants_run_is_refused_as_a_whole() -> None:
    def fenced(run: Sequence[Event]) -> Sequence[Outcome]:
        raise TenantFenced

    stand = await Stand(several=fenced).begun()
    assert await stand.handling.attempt([granted(1), granted(2)]) == 2
    assert stand.told() == [Outcome.REFUSED_PURGED] * 2


@pytest.mark.parametrize("error", [UnknownTenant(), KeyDestroyed()])
async def test_what_refuses_a_run_is_asked_of_its_first_event_by_itself(error: Exception) -> None:
    def refuses(run: Sequence[Event]) -> Sequence[Outcome]:
        raise error

    stand = await Stand(several=refuses, one=lambda event: Outcome.EFFECT).begun()
    assert await stand.handling.attempt([granted(1), granted(2)]) == 1
    assert stand.told() == [Outcome.EFFECT]


async def _hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [StoreUnavailable("x"), ValueError("secret"), None])
async def test_a_run_that_fails_comes_again_one_by_one(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(run: Sequence[Event]) -> Any:
        if error is None:
            return _hangs()
        raise error

    stand = await Stand(several=fails).begun()
    records = [granted(n) for n in (1, 2, 3)]
    assert await stand.handling.attempt(records) == 0
    assert (stand.alone, stand.told(), stand.progress._in_hand_since) == ([], [], {})
    assert "secret" not in str([vars(record) for record in caplog.records])
    assert await stand.handling.attempt(records) == 1, "the first by itself"
    assert (len(stand.alone), stand.progress.consecutive_failures) == (1, 0)
    assert await stand.handling.attempt(records[1:]) == 0, "and then the rest is tried again as a run"
    assert len(stand.runs) == 2


async def test_a_run_whose_outcomes_the_bus_does_not_take_comes_again() -> None:
    class Refusing(RecordingPublisher):
        async def publish(self, event: Event) -> None:
            if isinstance(event.data, events.OutcomeRecorded) and "/2" in event.data.delivery:
                raise BusUnavailable("x")
            await super().publish(event)

    stand = await Stand(bus=Refusing()).begun()
    assert await stand.handling.attempt([granted(1), granted(2), granted(3)]) == 0


async def test_a_lane_offers_its_next_records_and_goes_on_behind_those_that_ended() -> None:
    offered: list[list[int]] = []

    async def attempt(records: Sequence[Any]) -> int:
        offered.append([record.offset for record in records])
        return min(2, len(records)) if len(offered) != 2 else 0

    lanes = LaneScheduler(attempt, LaneLimits(side_by_side=1, records=100, bytes=10**6, run=3), lambda: 0.0)
    lanes.assign([PARTITION], lambda _: None)
    lanes.take([granted(n) for n in range(5)])
    for _ in range(50):
        await asyncio.sleep(0)
    assert offered == [[0, 1, 2], [2, 3, 4], [2, 3, 4], [4]]
    assert lanes.committable()[PARTITION].offset == 5


async def test_a_partition_that_moves_waits_for_the_whole_run_in_hand() -> None:
    done = asyncio.Event()
    begun: list[int] = []

    async def attempt(records: Sequence[Any]) -> int:
        begun.extend(record.offset for record in records)
        await done.wait()
        return len(records)

    lanes = LaneScheduler(attempt, LaneLimits(side_by_side=1, records=100, bytes=10**6, run=3), lambda: 0.0)
    lanes.assign([PARTITION], lambda _: None)
    lanes.take([granted(n) for n in range(5)])
    await asyncio.sleep(0)
    moving = asyncio.create_task(lanes.revoke([PARTITION], 5.0))
    await asyncio.sleep(0)
    done.set()
    await moving
    assert (begun, lanes.committable()[PARTITION].offset) == ([0, 1, 2], 3)
    assert (lanes._memory.records, lanes._memory.bytes) == (0, 0)
