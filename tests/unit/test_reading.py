"""Reading: from the bus into lanes and back as commits, over rebalances, stops, full memory and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError, OffsetMetadataTooLargeError

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.handling import Handling
from consumers.runtime.lane import LaneLimits
from consumers.runtime.liveness import Progress
from consumers.runtime.offsets import Committed
from consumers.runtime.parsing import Partition
from consumers.runtime.reading import IDLE_POLL_SECONDS, Reading
from consumers.runtime.reading_again import POLL_SECONDS
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.share import Share
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.bus import RecordingPublisher
from tenancy.platform.clock import utc_now
from tenancy.tenant_id import TenantId
from tests.fixtures.records import record_of
from tests.unit.runtime_parts import POLICY, TELEMETRY, NothingGuarded, a_tenancy

PLACE = TopicPartition(events.CURATION, 0)


@dataclass
class Kafka:
    """One partition and one group's place on it, and a consumer that has it: what :class:`Reader` asks for."""

    records: list[Any] = field(default_factory=list)
    places: dict[Any, tuple[int, str]] = field(default_factory=dict)
    held: set[Any] = field(default_factory=lambda: {PLACE})
    position: int = 0
    polls: int = 0
    polled_for: float = 0
    is_paused: bool = False
    commit_error: Exception | None = None
    poll_errors: list[Exception] = field(default_factory=list)
    back_errors: list[Exception] = field(default_factory=list)
    removed: int = 0
    """Records before this offset are removed by retention."""
    back_readers: int = 0

    @asynccontextmanager
    async def back_reader(self) -> AsyncIterator[BackReader]:
        self.back_readers += 1
        try:
            yield BackReader(self)
        finally:
            self.back_readers -= 1

    def add(self, *tenants: str) -> None:
        for tenant in tenants:
            offset = len(self.records)
            made = Event(subject=tenant, data=granted(offset), time=utc_now(), source="/test")
            self.records.append(record_of(made, partition=0, offset=offset, timestamp=1000 + offset))

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[Any, list[Any]]:
        self.polls, self.polled_for = self.polls + 1, timeout_ms / 1000
        await asyncio.sleep(0.001)
        if self.poll_errors:
            raise self.poll_errors.pop(0)
        if self.is_paused or PLACE not in self.held:
            return {}
        found = self.records[self.position : self.position + max_records]
        self.position += len(found)
        return {PLACE: found} if found else {}

    async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None:
        assert set(offsets) <= self.held
        if self.commit_error is not None:
            raise self.commit_error
        self.places.update(offsets)

    def assignment(self) -> Collection[Any]:
        return self.held

    def pause(self, *partitions: Any) -> None:
        self.is_paused = True

    def resume(self, *partitions: Any) -> None:
        self.is_paused = False

    async def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        return {(p.topic, p.partition): Committed(*place) for p, place in self.places.items()}


@dataclass
class BackReader:
    """A consumer in no group, as aiokafka's: it begins behind what was removed, and may be told to go anywhere."""

    kafka: Kafka
    held: list[Any] = field(default_factory=list)
    at: int = 0

    def assign(self, partitions: Collection[Any]) -> None:
        self.held = list(partitions)

    def assignment(self) -> Collection[Any]:
        return self.held

    def seek(self, partition: Any, offset: int) -> None:
        self.at = offset

    async def position(self, partition: Any) -> int:
        return max(self.at, self.kafka.removed)

    async def getmany(self, *partitions: Any, timeout_ms: int, max_records: int) -> Mapping[Any, list[Any]]:
        await asyncio.sleep(0.001)
        if self.kafka.back_errors:
            raise self.kafka.back_errors.pop(0)
        begin = max(self.at, self.kafka.removed)
        found = self.kafka.records[begin : begin + min(max_records, 7)]
        self.at = begin + len(found)
        return {PLACE: found} if found else {}


def granted(number: int) -> events.ConsentGranted:
    return events.ConsentGranted(consent_id=f"c{number}", version=1)


class Process:
    """One process of the group. Its handler waits while its event's tenant is in ``holding``."""

    def __init__(self, kafka: Kafka, **policy: Any) -> None:
        self.kafka = kafka
        self.holding: set[str] = set()
        self.begun: list[int] = []
        self.done: list[int] = []
        self.moved = asyncio.Event()
        tenancy = a_tenancy(RecordingPublisher())
        handlers: dict[type[events.EventData], Handler[None]] = {events.ConsentGranted: self._handle}
        policies = replace(POLICY, **{"deadline_seconds": 30.0, **policy})
        dispatcher = Dispatcher("curation", handlers, tenancy, None, TELEMETRY, policies)
        self.progress = Progress(60.0, 99)
        in_hand = NothingGuarded("test", tenancy, 5, lambda _: None)
        handling = Handling(dispatcher, self.progress, in_hand, Redeliveries(POLICY.deliveries))
        self.share = Share()
        self.reading = Reading(handling, policies, kafka.committed, self.share, kafka.back_reader)

    async def _handle(self, event: Event, ports: Any) -> Outcome:
        number = int(event.data.natural_key().split("|")[0].split("/")[0].removeprefix("c"))
        self.begun.append(number)
        while event.subject in self.holding:
            await asyncio.sleep(0.001)
        self.done.append(number)
        return Outcome.EFFECT

    async def join(self) -> None:
        self.kafka.position = self.kafka.places.get(PLACE, (0, ""))[0]
        self.reading.start(self.kafka)
        await self.reading.on_partitions_assigned([PLACE])

    async def kill(self) -> None:
        assert self.reading._task is not None
        self.reading._task.cancel()
        await self.reading._again.stop()
        await self.reading._lanes.stop(0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.runtime.reading.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("consumers.runtime.reading.AFTER_AN_ERROR_SECONDS", 0.01)
    monkeypatch.setattr("consumers.runtime.reading_again.AFTER_AN_ERROR_SECONDS", 0.01)
    monkeypatch.setattr("consumers.runtime.reading_again.POLL_SECONDS", 0.001)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_consumer_with_nothing_to_do_waits_for_longer_until_a_record_comes() -> None:
    kafka = Kafka()
    process = Process(kafka)
    process.holding = {"a"}
    await process.join()
    await until(lambda: kafka.polled_for == IDLE_POLL_SECONDS)
    kafka.add("a")
    await until(lambda: process.begun and kafka.polled_for == POLL_SECONDS)
    kafka.commit_error = KafkaConnectionError()
    process.holding = set()
    await until(lambda: process.done)
    polls = kafka.polls
    await until(lambda: kafka.polls > polls + 2)
    assert kafka.polled_for == POLL_SECONDS, "what has ended is still to be committed"
    kafka.commit_error = None
    await until(lambda: kafka.polled_for == IDLE_POLL_SECONDS)
    assert kafka.places[PLACE] == (1, "")
    await process.reading.stop()


async def test_what_the_group_assigns_is_the_share_until_it_assigns_anew() -> None:
    process = Process(Kafka())
    process.share.follow(PLACE.topic, lambda: 1)
    assert not process.share.owns(TenantId("a"))
    await process.join()
    assert process.share.owns(TenantId("a"))
    await process.reading.on_partitions_revoked([PLACE])
    assert process.share.owns(TenantId("a")), "nobody has said whose it is now"
    await process.reading.on_partitions_assigned([])
    assert not process.share.owns(TenantId("a"))
    await process.kill()


async def test_what_ended_is_committed_and_a_process_that_is_killed_repeats_exactly_what_had_not() -> None:
    kafka = Kafka()
    kafka.add("stuck", "a", "b", "stuck", "a")
    first = Process(kafka)
    first.holding = {"stuck"}
    await first.join()
    await until(lambda: len(first.done) == 3 and kafka.places.get(PLACE, (0, ""))[1])
    await asyncio.sleep(0.02)
    assert kafka.places[PLACE][0] == 0, "nothing passes what has not ended"
    await first.kill()
    second = Process(kafka)
    await second.join()
    await until(lambda: kafka.places[PLACE] == (5, ""))
    assert (sorted(first.done), second.begun) == ([1, 2, 4], [0, 3])
    await second.reading.stop()


async def test_a_polite_stop_lets_what_is_in_hand_end_and_commits_it() -> None:
    kafka = Kafka()
    kafka.add("a", "a", "b")
    process = Process(kafka)
    process.holding = {"a", "b"}
    await process.join()
    await until(lambda: len(process.begun) == 2)
    stopping = asyncio.create_task(process.reading.stop())
    await asyncio.sleep(0.01)
    process.holding = set()
    await stopping
    assert sorted(process.done) == [0, 2], "what waited is not begun"
    assert not process.reading.is_running()
    after = Process(kafka)
    await after.join()
    await until(lambda: kafka.places[PLACE] == (3, ""))
    assert after.begun == [1]
    await after.reading.stop()


async def test_in_a_rebalance_what_is_in_hand_ends_and_is_committed_before_the_partition_moves() -> None:
    kafka = Kafka()
    kafka.add("a", "b", "a", "b")
    process = Process(kafka)
    process.holding = {"a"}
    await process.join()
    await until(lambda: len(process.done) == 2)
    moving = asyncio.create_task(process.reading.on_partitions_revoked([PLACE]))
    await asyncio.sleep(0.01)
    assert not moving.done()
    process.holding = set()
    await moving
    assert kafka.places[PLACE][0] == 2
    kafka.position = 2
    await process.reading.on_partitions_assigned([PLACE])  # it comes back, as most do
    await until(lambda: kafka.places[PLACE] == (4, ""))
    assert sorted(process.done) == [0, 1, 2, 3], "each once"
    await process.reading.stop()


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_was_read_before_a_partition_moved_is_not_begun_after_it(comes_back: bool) -> None:
    kafka = Kafka()
    process = Process(kafka)
    await process.join()
    process.reading._is_assigned.clear()  # as while the committed offsets are asked for
    kafka.add("a")
    await until(lambda: kafka.position == 1)
    await process.reading.on_partitions_revoked([PLACE])
    if comes_back:
        kafka.position = 0
        await process.reading.on_partitions_assigned([PLACE])
        await until(lambda: kafka.places.get(PLACE) == (1, ""))
    else:
        kafka.held = set()
        await process.reading.on_partitions_assigned([])
        await asyncio.sleep(0.02)
    assert process.begun == [0] * comes_back, "what is read again is handled, and not what was read before"
    await process.reading.stop()


async def test_memory_full_of_tenants_pauses_the_partitions_and_polling_goes_on() -> None:
    kafka = Kafka()
    tenants = [f"t{number}" for number in range(60)]
    kafka.add(*tenants[:30])
    process = Process(kafka, lanes=LaneLimits(side_by_side=4, records=10, bytes=10**6))
    process.holding = set(tenants)
    await process.join()
    await until(lambda: kafka.is_paused)
    polls = kafka.polls
    kafka.add(*tenants[30:])
    await until(lambda: kafka.polls > polls + 20)  # a member of its group it stays
    assert kafka.position == 30
    process.holding = set()
    await until(lambda: kafka.places.get(PLACE) == (60, ""))
    assert sorted(process.done) == list(range(60))
    await process.reading.stop()


SMALL = LaneLimits(side_by_side=4, records=10, bytes=10**6)


def flood(kafka: Kafka) -> list[int]:
    """One tenant's events, many times what memory holds, with another's in between and behind; the flood's offsets."""
    kafka.add(*("flood" for _ in range(90)), "b", *("flood" for _ in range(90)), "c", *("flood" for _ in range(20)))
    return [offset for offset in range(202) if offset not in (90, 181)]


async def test_a_flood_of_any_size_delays_nobody_and_is_handled_in_order_from_the_broker() -> None:
    kafka = Kafka()
    floods = flood(kafka)
    process = Process(kafka, lanes=SMALL)
    process.holding = {"flood"}
    await process.join()
    await until(lambda: sorted(process.done) == [90, 181])
    assert (process.begun[0], kafka.is_paused, process.reading._lanes._memory.records < 10) == (0, False, True)
    process.holding = set()
    await until(lambda: kafka.places.get(PLACE) == (202, ""))
    assert [offset for offset in process.done if offset in floods] == floods
    assert len(process.done) == 202, "each once"
    await until(lambda: kafka.back_readers == 0)
    kafka.add("flood")
    await until(lambda: kafka.places.get(PLACE) == (203, ""))
    assert kafka.back_readers == 0, "nothing is left, and the front has what comes"
    await process.reading.stop()


async def test_many_floods_of_one_partition_get_on_side_by_side() -> None:
    kafka = Kafka()
    tenants = [f"t{number}" for number in range(15)]
    for tenant in tenants:
        kafka.add(*(tenant for _ in range(20)))
    kafka.add("single")
    process = Process(kafka, lanes=SMALL)
    process.holding = set(tenants)
    await process.join()
    await until(lambda: 300 in process.done or kafka.is_paused)
    process.holding = set()
    await until(lambda: kafka.places.get(PLACE) == (301, ""))
    assert all(sorted(run) == run for run in ([o for o in process.done if o // 20 == n] for n in range(15)))
    assert len(process.done) == 301
    await process.reading.stop()


@pytest.mark.parametrize("is_killed", [False, True])
async def test_who_has_a_partition_next_handles_exactly_what_had_not_ended_of_a_flood(is_killed: bool) -> None:
    kafka = Kafka()
    floods = flood(kafka)
    first = Process(kafka, lanes=SMALL)
    await first.join()
    await until(lambda: len(first.done) > 40 and 181 in first.done)
    if is_killed:
        first.holding = {"flood"}
        await until(lambda: first.begun[-1] not in first.done and kafka.places[PLACE][0] == first.begun[-1])
        await first.kill()
    else:
        await first.reading.on_partitions_revoked([PLACE])
        assert not first.reading._lanes.has_left()
        await until(lambda: kafka.back_readers == 0)
        await first.reading.stop()
    second = Process(kafka, lanes=SMALL)
    await second.join()
    await until(lambda: kafka.places.get(PLACE) == (202, ""))
    handled = first.done + second.done
    assert [offset for offset in handled if offset in floods] == floods
    assert sorted(handled) == list(range(202))
    await second.reading.stop()


@pytest.mark.parametrize("removed", [150, 202])
async def test_what_retention_removes_of_a_flood_is_not_waited_for(
    removed: int, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = Kafka()
    flood(kafka)
    process = Process(kafka, lanes=SMALL)
    process.holding = {"flood"}
    await process.join()
    await until(lambda: len(process.done) == 2)
    kafka.removed = removed
    process.holding = set()
    await until(lambda: kafka.places.get(PLACE) == (202, ""))
    done = [offset for offset in process.done if offset not in (90, 181)]
    assert done == sorted(done)
    assert set(range(removed, 202)) <= set(process.done)
    said = [vars(record) for record in caplog.records if "retention" in record.message]
    assert [line["events"] for line in said] == [202 - len(process.done)]
    await process.reading.stop()


async def test_what_fails_while_records_are_read_again_is_said_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kafka = Kafka(back_errors=[KafkaConnectionError("secret"), ValueError("secret")])
    flood(kafka)
    process = Process(kafka, lanes=SMALL)
    await process.join()
    await until(lambda: kafka.places.get(PLACE) == (202, ""))
    said = [vars(record) for record in caplog.records if record.message == "reading again failed"]
    assert (len(said), "secret" in str(said)) == (2, False)
    await process.reading.stop()


async def test_a_stop_in_a_flood_closes_what_reads_again() -> None:
    kafka = Kafka()
    flood(kafka)
    process = Process(kafka, lanes=SMALL)
    process.holding = {"flood"}
    await process.join()
    await until(lambda: kafka.back_readers == 1)
    process.holding = set()
    await process.reading.stop()
    assert kafka.back_readers == 0


async def test_a_partition_whose_unfinished_events_lie_in_too_many_pieces_is_read_no_further() -> None:
    kafka = Kafka()
    kafka.add(*("flood" if number % 2 else f"t{number}" for number in range(80)))
    process = Process(kafka, lanes=LaneLimits(side_by_side=4, records=1000, bytes=10**6, pieces=20))
    process.holding = {"flood"}
    await process.join()
    await until(lambda: kafka.is_paused)
    kafka.add("late")
    process.holding = set()
    await until(lambda: kafka.places.get(PLACE) == (81, ""))
    assert len(process.done) == 81
    await process.reading.stop()


@pytest.mark.parametrize("error", [CommitFailedError("x"), TimeoutError(), KafkaConnectionError("x")])
async def test_a_commit_that_fails_is_said_and_made_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    kafka = Kafka(commit_error=error)
    kafka.add("a", "b")
    process = Process(kafka)
    await process.join()
    await until(lambda: any(record.message == "not committed" for record in caplog.records))
    kafka.commit_error = None
    await until(lambda: kafka.places.get(PLACE) == (2, ""))
    await process.reading.stop()


async def test_brokers_that_take_no_metadata_are_told_the_offset_alone() -> None:
    class Terse(Kafka):
        async def commit(self, offsets: dict[Any, tuple[int, str]]) -> None:
            if any(metadata for _, metadata in offsets.values()):
                raise OffsetMetadataTooLargeError
            await super().commit(offsets)

    kafka = Terse()
    kafka.add("a", "b", "c")
    process = Process(kafka)
    process.holding = {"b"}
    await process.join()
    await until(lambda: len(process.done) == 2 and kafka.places.get(PLACE) == (1, ""))
    process.holding = set()
    await process.reading.stop()


async def test_an_error_of_the_bus_ends_no_reading(caplog: pytest.LogCaptureFixture) -> None:
    kafka = Kafka(poll_errors=[KafkaConnectionError("secret"), ValueError("secret")])
    kafka.add("a")
    process = Process(kafka)
    await process.join()
    await until(lambda: kafka.places.get(PLACE) == (1, ""))
    assert process.reading.is_running()
    said = [vars(record) for record in caplog.records if record.message == "reading failed"]
    assert len(said) == 2
    assert "secret" not in str(said)
    await process.reading.stop()


async def test_where_the_committed_offsets_are_not_told_what_had_ended_is_handled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Mute(Kafka):
        async def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
            raise KafkaConnectionError("x")

    kafka = Mute(places={PLACE: (0, "gA==")})
    kafka.add("a")
    process = Process(kafka)
    await process.join()
    await until(lambda: kafka.places.get(PLACE) == (1, ""))
    assert any(record.message == "committed offsets not read" for record in caplog.records)
    await process.reading.stop()
