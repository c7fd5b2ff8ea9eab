"""A tenant's usage is one record a day, in which every report counts once, however late and often it is delivered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from consumers.ledger.handlers import on_usage_recorded
from consumers.ledger.ports import LedgerPorts
from inference.tenants.usage import UsageMeter, UsageReporter
from producers.queries import usage
from producers.queries.ratings import ratings
from schemas.base.identifiers import OpaqueId
from schemas.bus.envelope import Event
from schemas.bus.events import UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import PurgeState, TenantState
from schemas.objects.usage import Ranges, Report, UsageDay, UsageSum, day_of, report_of, with_number
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import StoreUnavailable, TenantFenced, Transient
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject, erase_prefix
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TENANT = TenantId("t1")
ONE, OTHER = "a" * 32, "b" * 32
KEY = object_keys.tenant_key(TENANT, object_keys.usage_day("20261124"))


class Store(MemoryObjectStore):
    """Gives way at every read and write, loses answers to writes, and lets things happen before a write."""

    lost_answers = 0
    before_put: asyncio.Event | None = None
    at_put: asyncio.Event | None = None

    async def get(self, key: str) -> StoredObject:
        await asyncio.sleep(0)
        return await super().get(key)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        await asyncio.sleep(0)
        if self.before_put is not None and self.at_put is not None and key == KEY:
            self.at_put.set()
            await self.before_put.wait()
        etag = await super().put(key, body, if_absent=if_absent, if_match=if_match)
        if self.lost_answers and key == KEY:
            self.lost_answers -= 1
            raise StoreUnavailable("the object store did not answer")
        return etag


@dataclass
class Ledger:
    """The ledger's handler on a tenant, handled as the runtime does: what is transient comes again."""

    objects: Store = field(default_factory=Store)
    publisher: RecordingPublisher = field(default_factory=RecordingPublisher)
    now: datetime = NOON
    tenancy: Tenancy = field(init=False)
    ports: LedgerPorts = field(init=False)

    def __post_init__(self) -> None:
        master = KeyFileMasterKey(secrets.token_bytes(32))
        self.tenancy = assemble(self.objects, master, self.publisher, "/sanolith/test", lambda: self.now)
        signer = AllKeys.numbered(2)
        self.ports = LedgerPorts(self.tenancy, Checkpointer(self.tenancy.audit, signer), 256)

    async def start(self) -> Ledger:
        await self.tenancy.states.create(TenantState(tenant=TENANT, nonce="n"))
        await self.tenancy.keys.create(TENANT)
        return self

    async def handle(self, event: Event[UsageRecorded]) -> Outcome:
        for _ in range(20):
            try:
                return await on_usage_recorded(event, self.ports)
            except Transient:
                continue
        raise AssertionError("it never gets on")

    async def day(self) -> UsageDay:
        store = await self.tenancy.store(TENANT)
        return (await store.get_record(object_keys.usage_day("20261124"), UsageDay))[0]

    async def keys(self) -> list[str]:
        return [key async for key in self.objects.keys(object_keys.tenant_prefix(TENANT))]


@pytest.fixture
async def ledger() -> Ledger:
    return await Ledger().start()


def reported(number: int, reporter: str = ONE, day: str = "20261124") -> Event[UsageRecorded]:
    data = UsageRecorded(
        usage_id=Report(day, reporter, number).usage_id,
        source="inference",
        prompt_tokens=number,
        completion_tokens=10 * number,
        engine_seconds=0.1,
    )
    return Event(subject=TENANT, data=data, time=NOON, source="/sanolith/inference")


# --- numbers and ids


@given(st.lists(st.integers(1, 40), max_size=60))
def test_ranges_hold_exactly_the_numbers_that_were_put_in_whatever_their_order(numbers: list[int]) -> None:
    ranges: Ranges = ()
    for number in numbers:
        before = ranges
        ranges = with_number(ranges, number)
        assert (ranges == before) == any(first <= number <= last for first, last in before)
    assert {number for first, last in ranges for number in range(first, last + 1)} == set(numbers)
    assert all(below[1] + 1 < above[0] for below, above in pairwise(ranges)), "two that touch are one"


@given(st.integers(1, 10**12 - 1))
def test_a_reports_id_names_it_and_is_a_valid_id(number: int) -> None:
    report = Report("20261124", ONE, number)
    assert report_of(TypeAdapter(OpaqueId).validate_python(report.usage_id)) == report


@pytest.mark.parametrize(
    "usage_id",
    [
        "u1",
        "batch-1",
        ONE,
        f"20261124.{ONE}.0",
        f"20261124.{ONE}.01",
        f"20261124.{ONE}.-1",
        f"20261124.{ONE}.1000000000000",
        f"20261124.{ONE}.1\n",
        f"20261124.{ONE}.१",
        f"20261324.{ONE}.1",
        f"2026112.{ONE}.1",
        f"20261124.{ONE[1:]}.1",
        f"x.20261124.{ONE}.1",
    ],
)
def test_any_other_id_is_no_reports(usage_id: str) -> None:
    assert report_of(usage_id) is None


def test_a_day_is_one_of_utc() -> None:
    assert day_of(datetime.fromisoformat("2026-11-25T00:30:00+01:00")) == "20261124"


# --- the ledger


@given(st.data())
async def test_every_report_counts_once_in_whatever_order_and_however_often_it_comes(data: st.DataObject) -> None:
    events = [reported(number, reporter) for reporter in (ONE, OTHER) for number in range(1, 5)]
    delivered = data.draw(st.permutations(events * 2))
    ledger = await Ledger().start()
    outcomes = [await ledger.handle(event) for event in delivered]
    day = await ledger.day()
    assert day.sums == {"inference": UsageSum(records=8, prompt_tokens=20, completion_tokens=200, engine_seconds=0.8)}
    assert day.counted == {ONE: ((1, 4),), OTHER: ((1, 4),)}
    assert (outcomes.count(Outcome.EFFECT), outcomes.count(Outcome.NOOP_DUPLICATE)) == (8, 8)


async def test_a_day_of_reports_is_one_small_object(ledger: Ledger) -> None:
    for number in range(1, 201):
        await ledger.handle(reported(number))
    assert await ledger.keys() == [KEY]
    assert len((await ledger.objects.get(KEY)).body) < 1000
    [view] = await usage.usage(ledger.tenancy, TENANT)
    assert (view.source, view.records, view.prompt_tokens, view.engine_seconds) == ("inference", 200, 20_100, 20.0)


async def test_ratings_are_added_up_for_each_adapter_over_days_and_reports_once(ledger: Ledger) -> None:
    first, second = "1" * 64, "2" * 64
    assert await ratings(ledger.tenancy, TENANT, NOON) == {}
    meter = UsageMeter()
    reporter = UsageReporter(meter, ledger.tenancy)
    meter.rated(TENANT, first, "up")
    meter.rated(TENANT, first, "up")
    meter.rated(TENANT, second, "down")
    await reporter.report()
    ledger.now += timedelta(days=1)
    meter.rated(TENANT, first, "down")
    await reporter.report()
    for event in [*ledger.publisher.events, *reversed(ledger.publisher.events)]:
        await ledger.handle(event)
    told = await ratings(ledger.tenancy, TENANT, NOON)
    assert [(one.adapter_digest, one.up, one.down) for one in told.values()] == [(first, 2, 1), (second, 0, 1)]
    assert {key.split("/")[2] for key in await ledger.keys()} == {"usage"}, "a purge empties that area"
    await ledger.tenancy.keys.destroy(TENANT)
    assert await ratings(ledger.tenancy, TENANT, NOON) == {}, "they go with the tenant's key, as all of its area"


async def test_a_report_that_was_lost_for_a_while_is_counted_when_it_comes(ledger: Ledger) -> None:
    """A dead letter that is sent again, long after those that came behind it."""
    for number in (1, 3, 4):
        await ledger.handle(reported(number))
    assert (await ledger.day()).counted == {ONE: ((1, 1), (3, 4))}
    ledger.now += timedelta(days=400)
    assert await ledger.handle(reported(2)) is Outcome.EFFECT
    assert await ledger.handle(reported(2)) is Outcome.NOOP_DUPLICATE
    assert (await ledger.day()).sums["inference"].prompt_tokens == 10


@pytest.mark.parametrize("lost", range(1, 4))
async def test_an_answer_that_is_lost_on_the_way_counts_nothing_twice(ledger: Ledger, lost: int) -> None:
    ledger.objects.lost_answers = lost
    for number in range(1, 5):
        await ledger.handle(reported(number))
    assert (await ledger.day()).sums["inference"].prompt_tokens == 10


async def test_two_ledgers_at_once_count_every_report_once(ledger: Ledger) -> None:
    """As after a rebalance, where both still handle the same events."""
    events = [reported(number, reporter) for number in range(1, 6) for reporter in (ONE, OTHER)]

    async def all_of(several: Sequence[Event[UsageRecorded]]) -> None:
        for event in several:
            await ledger.handle(event)

    await asyncio.gather(all_of(events), all_of(events), all_of(events[::-1]))
    assert (await ledger.day()).sums["inference"].prompt_tokens == 30


async def test_other_usage_is_kept_under_its_events_id_and_added_to_the_days(ledger: Ledger) -> None:
    training = UsageRecorded(usage_id="run-1", source="training", training_tokens=7)
    event = Event(subject=TENANT, data=training, time=NOON, source="/sanolith/training")
    assert [await ledger.handle(event) for _ in range(2)] == [Outcome.EFFECT, Outcome.NOOP_DUPLICATE]
    await ledger.handle(reported(1))
    await ledger.handle(reported(1, day="20261125"))
    inference, trained = await usage.usage(ledger.tenancy, TENANT)
    assert (inference.records, inference.prompt_tokens) == (2, 2)
    assert (trained.records, trained.training_tokens) == (1, 7)
    assert len(await ledger.keys()) == 3


async def test_after_the_fence_no_report_is_counted(ledger: Ledger) -> None:
    def fenced(state: TenantState) -> TenantState:
        return state.evolve(status="purging", purge=PurgeState(purge_id="p", fenced_at=NOON))

    await ledger.tenancy.states.swap(TENANT, fenced)
    with pytest.raises(TenantFenced):
        await on_usage_recorded(reported(1), ledger.ports)
    assert await ledger.keys() == []


async def test_a_swap_that_comes_after_the_sweep_brings_nothing_back(ledger: Ledger) -> None:
    await ledger.handle(reported(1))
    ledger.objects.before_put, ledger.objects.at_put = asyncio.Event(), asyncio.Event()
    late = asyncio.create_task(on_usage_recorded(reported(2), ledger.ports))
    await ledger.objects.at_put.wait()
    await erase_prefix(ledger.objects, object_keys.tenant_prefix(TENANT))
    ledger.objects.before_put.set()
    with pytest.raises(Transient):
        await late
    assert await ledger.keys() == []


# --- the reporter


async def test_a_replicas_reports_are_numbered_without_gaps_for_each_tenant_and_day(ledger: Ledger) -> None:
    meter = UsageMeter(lambda: 0.0)
    reporter = UsageReporter(meter, ledger.tenancy)
    for minute in range(6):
        ledger.now = NOON + timedelta(minutes=minute)
        if minute % 2 == 0:
            meter.tokens(TENANT, 1, 2)
        meter.tokens(TenantId("t2"), 1, 2)
        await reporter.report()
    ours = [event for event in ledger.publisher.events if event.subject == TENANT]
    for event in [*ours, *ours]:
        await ledger.handle(event)
    assert list((await ledger.day()).counted.values()) == [((1, 3),)]
    assert (await ledger.day()).sums["inference"].prompt_tokens == 3


async def test_the_numbers_of_a_day_are_forgotten_on_the_next_and_a_clock_set_back_reuses_none(ledger: Ledger) -> None:
    meter = UsageMeter(lambda: 0.0)
    reporter = UsageReporter(meter, ledger.tenancy)
    for days in (0, 1, 0, 1):
        ledger.now = NOON + timedelta(days=days)
        meter.tokens(TENANT, 1, 1)
        await reporter.report()
    ids = [event.data.usage_id for event in ledger.publisher.events if isinstance(event.data, UsageRecorded)]
    assert len(set(ids)) == 4
    assert [usage_id.split(".")[0] for usage_id in ids] == ["20261124", "20261125", "20261125", "20261125"]
    assert reporter._numbers == {TENANT: 3}


async def test_two_processes_of_one_replica_are_two_reporters(ledger: Ledger) -> None:
    for _ in range(2):
        meter = UsageMeter(lambda: 0.0)
        meter.tokens(TENANT, 1, 1)
        await UsageReporter(meter, ledger.tenancy).report()
    for event in ledger.publisher.events:
        await ledger.handle(event)
    assert (await ledger.day()).sums["inference"].records == 2
