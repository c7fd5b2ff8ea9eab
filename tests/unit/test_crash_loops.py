"""An event that ends its process is passed over after a bound; restarts, rebalances and outages count for nothing.

A process that is killed is a task that is left where it stands: nothing of it runs any more. What the next process
finds is what was committed and what is in the store.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.crash_loops import CAREFUL_RUN, CrashLoopGuard
from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.handling import Handling
from consumers.runtime.lane import LaneLimits
from consumers.runtime.lanes import LaneScheduler
from consumers.runtime.liveness import Progress
from consumers.runtime.offsets import Committed, decoded
from consumers.runtime.poison import Poison
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.runs import InRuns
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.crash_marker import CrashMarker, CrashMarkers
from schemas.stores.registry import store_of_key
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused, StoreUnavailable, Transient
from tenancy.platform.clock import utc_now
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion, StoredObject
from tests.fixtures.examples import examples
from tests.fixtures.records import record_of

POLICY = HandlingPolicy(
    attempts=1, backoff_seconds=0.0, redelivery_pause_seconds=0.0, deliveries=3, ended_processes=3, deadline_seconds=600
)
TELEMETRY = configure_telemetry("test", None)
PARTITION = (events.TENANTS, 0)
GROUP = "curation.v1"
DIES = "dies"
FIRST = Committed(0)


@dataclass
class Store(MemoryObjectStore):
    """Counts requests, and can be taken away or refuse."""

    requests: int = 0
    error: Exception | None = None

    def _asked(self) -> None:
        self.requests += 1
        if self.error is not None:
            raise self.error

    async def get(self, key: str) -> StoredObject:
        self._asked()
        return await super().get(key)

    async def exists(self, key: str) -> bool:
        self._asked()
        return await super().exists(key)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        self._asked()
        return await super().put(key, body, **conditions)

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        self.requests += bool(versions)
        await super().delete_versions(versions)

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        self._asked()
        async for version in super().versions(prefix):
            yield version


@dataclass
class Bus(RecordingPublisher):
    is_out: bool = False

    async def answers(self) -> bool:
        return not self.is_out


def command(purge: str) -> events.PurgeRequested:
    return events.PurgeRequested(purge_id=purge, reason_code="test", requested_by="op")


def asked(export: str) -> events.ExportRequested:
    return events.ExportRequested(export_id=export, requested_by="op")


@dataclass
class Topic:
    """One partition of a topic, a group's place on it, and what the installation holds."""

    store: Store = field(default_factory=Store)
    bus: Bus = field(default_factory=Bus)
    records: list[ConsumerRecord[Any, Any]] = field(default_factory=list)
    committed: int = 0
    handled: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    _back: int = 0

    place: Committed = FIRST

    def add(self, *made: events.EventData, tenant: str = "t1") -> None:
        for data in made:
            record = record_of(Event(subject=tenant, data=data, time=utc_now(), source="/test"))
            self._append(record)

    def _append(self, record: ConsumerRecord[Any, Any]) -> None:
        offset = len(self.records)
        self.records.append(replace(record, partition=0, offset=offset, timestamp=1_000 + offset))

    def take_back(self) -> None:
        """What was published to the topic itself is at its end."""
        for message in self.bus.raw[self._back :]:
            if message.topic == events.TENANTS:
                self._append(replace(self.records[0], key=message.key, value=message.value, headers=message.headers))
        self._back = len(self.bus.raw)

    @property
    def letters(self) -> list[tuple[str, str]]:
        found = [dict(letter.headers) for letter in self.bus.raw if letter.topic.endswith(".dlq")]
        return [((h["ce_type"] or b"").decode(), (h["dlq_reason"] or b"").decode()) for h in found]

    def note(self) -> CrashMarkers | None:
        versions = self.store.objects.get(object_keys.record_in_hand(GROUP, *PARTITION))
        return read_tolerant(CrashMarkers, versions[-1].body or b"") if versions else None

    def says_nothing(self) -> bool:
        """A process has the partition, and no record of it in hand or under suspicion."""
        note = self.note()
        return note is not None and (note.records, note.alone, note.is_open) == ((), None, True)


@dataclass
class Consuming:
    """One process of the group, from its start; it has all of the partition."""

    topic: Topic
    act: Callable[[str], Any]
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        tenancy = assemble(self.topic.store, KeyFileMasterKey(secrets.token_bytes(32)), self.topic.bus, "/test")
        handlers: dict[type[events.EventData], Handler[None]] = {
            events.ExportRequested: self._exports(),
            events.PurgeRequested: self._handle,
        }
        self.dispatcher = Dispatcher("purge", handlers, tenancy, None, TELEMETRY, POLICY)
        self.crash_loops = CrashLoopGuard(GROUP, tenancy, POLICY.ended_processes, lambda _: len(self.topic.records))
        self.handling = Handling(
            self.dispatcher, Progress(600.0, 999), self.crash_loops, Redeliveries(POLICY.deliveries)
        )
        self.position = self.topic.committed
        self.crash_loops.assigned([PARTITION])

    def _exports(self) -> Handler[None]:
        return self._handle

    async def _handle(self, event: Event, ports: Any) -> Outcome:
        name = getattr(event.data, "export_id", None) or cast(events.PurgeRequested, event.data).purge_id
        self.topic.begun.append(name)
        does = self.act(name)
        if does == DIES:
            self.died.set()
            await asyncio.Event().wait()
        if isinstance(does, BaseException):
            raise does
        self.topic.handled.append(name)
        return Outcome.EFFECT

    async def deliver(self) -> None:
        """One attempt at the next record."""
        record = self.topic.records[self.position]
        if await self.handling.attempt_one(record):
            self.position += 1
            self.topic.committed = self.position
            self.topic.take_back()

    async def leave(self) -> None:
        await self.crash_loops.give_up([PARTITION], is_leaving=True)

    async def run(self, deliveries: int = 99) -> bool:
        """Until it is at the end, has made so many deliveries, or dies; whether it lives."""
        for _ in range(deliveries):
            if self.position == len(self.topic.records):
                break
            handling = asyncio.ensure_future(self.deliver())
            dying = asyncio.ensure_future(self.died.wait())
            await asyncio.wait({handling, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not handling.done():
                GRAVEYARD.append(handling)
                return False
            dying.cancel()
            handling.result()
        return True


@dataclass
class SideBySide(Consuming):
    """One process that handles what is there in lanes, and commits after each record that ends."""

    most: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = LaneLimits(side_by_side=3, records=500, bytes=10**6, run=self.most)
        self.lanes = LaneScheduler(self._attempt, limits, lambda: 0.0)
        self.lanes.assign([PARTITION], lambda _: decoded(self.topic.place))
        self.taken = self.topic.place.offset

    async def _attempt(self, records: Sequence[Any]) -> int:
        if self.died.is_set():
            await asyncio.Event().wait()
        ended = await self.handling.attempt(records)
        if self.died.is_set():
            await asyncio.Event().wait()
        return ended

    async def run(self, deliveries: int = 99) -> bool:
        """Until all has ended, or it dies."""
        while not self.died.is_set():
            self.lanes.take(self.topic.records[self.taken :])
            self.taken = len(self.topic.records)
            await asyncio.sleep(0)
            if self.died.is_set():
                break
            place = self.lanes.committable().get(PARTITION)
            if place is not None:
                self.topic.place = place
                self.topic.take_back()
            if self.topic.place == Committed(len(self.topic.records)):
                return True
        GRAVEYARD.extend(cast("set[asyncio.Future[Any]]", set(self.lanes._turns)))
        return False


@dataclass
class InBatches(SideBySide):
    """One process that takes what like events of a tenant are there at once."""

    most: int = 512
    runs: list[int] = field(default_factory=list)

    def _exports(self) -> Handler[None]:
        return InRuns(self._handle, self._several, most=self.most)

    async def _several(self, run: Sequence[Event], ports: Any) -> list[Outcome]:
        self.runs.append(len(run))
        return [await self._handle(event, ports) for event in run]


GRAVEYARD: list[asyncio.Future[Any]] = []
"""Dead processes. They are kept so that nothing cleans up after them, as nothing does after a SIGKILL."""


async def lives(
    topic: Topic, act: Callable[[str], Any], most: int = 99, process_of: type[Consuming] = Consuming
) -> int:
    """One process after another, until one gets to the end; how many died."""
    for deaths in range(most):
        process = process_of(topic, act)
        if await process.run():
            await process.leave()
            return deaths
    raise AssertionError("processes die for ever")


@pytest.mark.parametrize("at", range(8))
async def test_of_several_tenants_in_hand_the_record_that_kills_is_found_and_no_other_is_blamed(at: int) -> None:
    topic = Topic()
    names = [f"x{n}" for n in range(8)]
    names[at] = "poison"
    for number, name in enumerate(names):
        topic.add(asked(name), tenant=f"t{number % 4}")
    deaths = await lives(topic, killer("poison"), process_of=SideBySide)
    # One death before it was noted, one among others: those count for nobody.
    assert POLICY.ended_processes <= deaths <= POLICY.ended_processes + 2
    assert topic.letters == [("sano.export.requested", "ends-its-process")]
    assert set(topic.handled) == set(names) - {"poison"}
    assert topic.note() is None


async def test_a_record_that_kills_is_found_where_others_are_always_in_hand_beside_it() -> None:
    """Never alone by chance: only because it is tried alone."""
    topic = Topic()
    for number in range(40):
        topic.add(asked("poison" if number == 5 else f"x{number}"), tenant="t-poison" if number == 5 else f"t{number}")

    class Slow(SideBySide):
        async def _handle(self, event: Event, ports: Any) -> Outcome:
            name = cast(events.ExportRequested, event.data).export_id
            await asyncio.sleep(0.001 if name == "poison" else 0.01)
            return await super()._handle(event, ports)

    deaths = await lives(topic, killer("poison"), most=20, process_of=Slow)
    assert deaths <= POLICY.ended_processes + 2
    assert topic.letters == [("sano.export.requested", "ends-its-process")]
    assert len(set(topic.handled)) == 39


@pytest.mark.parametrize("at", [0, 1, 2, CAREFUL_RUN, CAREFUL_RUN + 1, 59])
async def test_a_record_that_kills_in_the_midst_of_a_run_is_found_and_no_other_is_blamed(at: int) -> None:
    topic = Topic()
    topic.add(*(asked("poison" if number == at else f"x{number}") for number in range(60)))
    deaths = await lives(topic, killer("poison"), process_of=InBatches)
    assert POLICY.ended_processes <= deaths <= POLICY.ended_processes + 2
    assert topic.letters == [("sano.export.requested", "ends-its-process")]
    assert set(topic.handled) == {f"x{number}" for number in range(60)} - {f"x{at}"}
    assert topic.note() is None


async def test_behind_a_death_records_are_still_taken_in_runs_each_noted_before_it_is_begun() -> None:
    topic = Topic()
    topic.add(*(asked(f"x{number}") for number in range(1 + 4 * CAREFUL_RUN)))
    assert not await InBatches(topic, lambda _: DIES).run()
    noted: list[int] = []

    def looked(name: str) -> None:
        noted.append(len(note.records) if (note := topic.note()) else 0)

    process, before = InBatches(topic, looked), topic.store.requests
    assert await process.run()
    assert process.runs == [CAREFUL_RUN] * 4, "the first one was looked at by itself"
    assert noted == [1] + [CAREFUL_RUN] * 4 * CAREFUL_RUN
    assert topic.store.requests - before == 1 + 2 * 5 + 1, "a look, two notes for each, and one that the first is over"
    assert topic.says_nothing()
    topic.add(*(asked(f"y{number}") for number in range(100)))
    assert await process.run()
    assert process.runs[4:] == [100], "what came since was in nobody's hand"


async def test_several_that_kill_are_all_found_and_only_they_are_passed_over() -> None:
    topic = Topic()
    for number in range(12):
        topic.add(asked("poison" if number % 4 == 1 else f"x{number}"), tenant=f"t{number % 3}")
    deaths = await lives(topic, killer("poison"), process_of=SideBySide)
    assert deaths <= 3 * (POLICY.ended_processes + 2)
    assert topic.letters == [("sano.export.requested", "ends-its-process")] * 3
    assert set(topic.handled) == {f"x{number}" for number in range(12) if number % 4 != 1}


@examples(60)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=10), st.randoms(use_true_random=False))
async def test_kills_from_outside_of_a_process_with_many_in_hand_pass_over_nothing(
    kills: list[int], chance: random.Random
) -> None:
    """Each process is killed once it has begun so many, fewer times in a row than the limit by any one record."""
    topic = Topic()
    for number in range(8):
        topic.add(asked(f"x{number}"), tenant=f"t{chance.randrange(4)}")
    blamed: dict[str, int] = {}
    for most in kills:
        begun = 0

        def act(name: str, most: int = most) -> Any:
            nonlocal begun
            begun += 1
            if begun <= most or blamed.get(name, 0) >= POLICY.ended_processes - 1:
                return None
            blamed[name] = blamed.get(name, 0) + 1
            return DIES

        process = SideBySide(topic, act)
        if await process.run():
            await process.leave()
            break
    await lives(topic, killer(), process_of=SideBySide)
    assert (set(topic.handled), topic.letters) == ({f"x{n}" for n in range(8)}, [])


async def test_while_others_are_in_hand_no_record_is_noted_to_be_alone() -> None:
    """One that hangs was alone when it began; then another begins, which kills the process."""
    topic = Topic()
    topic.add(asked("slow"), tenant="t1")
    process = SideBySide(topic, lambda name: {"poison": DIES}.get(name))
    waiting = asyncio.Event()
    handle = process._handle

    async def hangs(event: Event, ports: Any) -> Outcome:
        if cast(events.ExportRequested, event.data).export_id == "slow":
            await waiting.wait()
        return await handle(event, ports)

    cast(dict[Any, Any], process.dispatcher.handlers)[events.ExportRequested] = hangs
    running = asyncio.ensure_future(process.run())
    GRAVEYARD.append(running)
    await asyncio.sleep(0.02)
    note = topic.note()
    assert note is not None
    assert note.alone == 0
    topic.add(asked("poison"), tenant="t2")
    process.lanes.take(topic.records[1:])
    process.taken = 2
    await process.died.wait()
    note = topic.note()
    assert note is not None
    assert note.alone is None


def killer(*names: str) -> Callable[[str], Any]:
    return lambda name: DIES if name in names else None


async def test_a_record_whose_note_could_not_be_cleared_is_not_blamed_for_one_of_another_partition() -> None:
    store, bus = Store(), Bus()
    tenancy = assemble(store, KeyFileMasterKey(secrets.token_bytes(32)), bus, "/test")
    partitions = [(events.TENANTS, number) for number in (0, 1)]
    made = record_of(Event(subject="t1", data=asked("e1"), time=utc_now(), source="/test"))
    healthy, kills = (replace(made, partition=number, offset=5, timestamp=1) for number in (0, 1))

    def started() -> CrashLoopGuard:
        guard = CrashLoopGuard(GROUP, tenancy, POLICY.ended_processes, lambda _: 9)
        guard.assigned(partitions)
        return guard

    async def dies(guard: CrashLoopGuard) -> None:
        async with guard.guarding(kills):
            await asyncio.Event().wait()

    for _ in range(POLICY.ended_processes):
        guard = started()
        with suppress(Poison, Transient):
            async with guard.guarding(healthy):
                store.error = StoreUnavailable("out")
                raise Transient("it failed, and what is noted stays")
        store.error = None
        GRAVEYARD.append(asyncio.ensure_future(dies(guard)))
        for _ in range(50):
            await asyncio.sleep(0)
    async with started().guarding(healthy):
        pass
    with pytest.raises(Poison):
        async with started().guarding(kills):
            pass


@pytest.mark.parametrize("before", [0, 2])
async def test_an_event_that_ends_every_process_is_passed_over_and_what_is_behind_it_is_handled(before: int) -> None:
    topic = Topic()
    topic.add(*(asked(f"x{n}") for n in range(before)), asked("poison"), command("p1"))
    deaths = await lives(topic, killer("poison"))
    # Where it came first it is noted from the first time on; else the first death is nobody's.
    assert deaths == POLICY.ended_processes + (before > 0)
    assert topic.handled[-1] == "p1"
    assert topic.letters == [("sano.export.requested", "ends-its-process")]
    outcomes = [e.data.outcome for e in topic.bus.events if isinstance(e.data, events.OutcomeRecorded)]
    assert outcomes.count(Outcome.DEAD_LETTERED) == 1
    assert topic.note() is None, "nothing is left once the group is past it"


async def test_a_purge_command_that_ends_every_process_goes_to_the_back_and_is_never_a_dead_letter() -> None:
    topic = Topic()
    topic.add(command("stubborn"), command("p1"))
    deaths = 0

    def act(name: str) -> Any:
        nonlocal deaths
        if name == "stubborn" and deaths < 2 * POLICY.ended_processes:
            deaths += 1
            return DIES
        return None

    await lives(topic, act)
    assert topic.letters == []
    assert topic.handled == ["p1", "stubborn"], "what is behind it goes on, and after the fix it happens"


async def test_an_event_that_fails_before_it_ends_the_process_is_bounded_too() -> None:
    topic = Topic()
    topic.add(asked("leak"), command("p1"))
    calls = 0

    def act(name: str) -> Any:
        nonlocal calls
        if name != "leak":
            return None
        calls += 1
        return DIES if calls % 2 == 0 else Transient("not yet")

    assert await lives(topic, act) == POLICY.ended_processes
    assert (topic.handled, topic.letters) == (["p1"], [("sano.export.requested", "ends-its-process")])


async def test_processes_that_end_in_good_order_count_for_nothing_however_often() -> None:
    """In a rolling restart or a rebalance the event in hand is finished, or given up by cancelling its handling."""
    topic = Topic()
    topic.add(asked("slow"))
    for number in range(10 * POLICY.ended_processes):
        process = Consuming(topic, killer("slow") if number % 2 else lambda _: Transient("out"))
        handling = asyncio.ensure_future(process.deliver())
        if number % 2:
            await process.died.wait()
            handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
        assert topic.says_nothing()
    assert await lives(topic, killer()) == 0
    assert (topic.handled, topic.letters) == (["slow"], [])


async def test_while_the_store_is_out_nothing_is_handled_and_nothing_is_a_dead_letter() -> None:
    topic = Topic()
    topic.add(asked("x"), command("p"))
    topic.store.error = StoreUnavailable("the object store answered 503")
    for _ in range(10):
        assert await Consuming(topic, killer("x", "p")).run(deliveries=5), "and nobody dies of it"
    assert (topic.begun, topic.bus.raw, topic.committed) == ([], [], 0)
    topic.store.error = None
    assert await lives(topic, killer()) == 0
    assert topic.handled == ["x", "p"]


async def test_processes_that_are_killed_while_the_bus_is_out_count_for_nothing() -> None:
    """A restart by the orchestrator, because nothing gets on, ends a process in the midst of a handling."""
    topic = Topic()
    topic.add(asked("x"))
    topic.bus.is_out = True
    for _ in range(5 * POLICY.ended_processes):
        assert not await Consuming(topic, killer("x")).run()
    topic.bus.is_out = False
    assert await lives(topic, killer()) == 0
    assert (topic.handled, topic.letters) == (["x"], [])


async def test_only_the_first_record_of_a_partition_that_is_new_to_the_process_costs_requests() -> None:
    topic = Topic()
    topic.add(*(asked(f"x{number}") for number in range(6)))
    process = Consuming(topic, killer())
    costs = []
    for number in range(6):
        before = topic.store.requests
        await process.run(deliveries=1)
        costs.append(topic.store.requests - before)
        if number == 3:  # another partition comes
            process.crash_loops.assigned([PARTITION, (events.TENANTS, 1)])
    assert costs == [3, 0, 0, 0, 0, 0]

    async def cost_of_another(name: str) -> int:
        topic.add(asked(name))
        before = topic.store.requests
        await process.run(deliveries=1)
        return topic.store.requests - before

    before = topic.store.requests
    await process.crash_loops.give_up([PARTITION])
    process.crash_loops.assigned([PARTITION])
    assert topic.store.requests - before == 1
    assert await cost_of_another("x6") == 2, "a rebalance that leaves it where it is"
    await process.crash_loops.give_up([PARTITION])
    process.crash_loops.assigned([])
    process.crash_loops.assigned([PARTITION])
    assert await cost_of_another("x7") == 3, "somebody else may have had it"


async def test_garbage_costs_no_more_than_other_records_where_a_partition_is_new_to_the_process() -> None:
    topic = Topic()
    topic.add(*(asked(f"x{number}") for number in range(3)))
    process = Consuming(topic, lambda _: ValueError("a bug"))
    costs = []
    for _ in range(3):
        before = topic.store.requests
        await process.run(deliveries=1)
        costs.append(topic.store.requests - before)
    assert (topic.committed, len(topic.letters)) == (3, 3)
    assert costs == [3, 0, 0]
    assert topic.says_nothing()


async def test_a_record_is_not_blamed_for_another_one_at_its_place_in_a_topic_that_was_made_anew() -> None:
    topic = Topic()
    topic.add(asked("poison"))
    for _ in range(POLICY.ended_processes):
        assert not await Consuming(topic, killer("poison")).run()
    topic.records = [replace(topic.records[0], timestamp=5_000_000)]
    assert await lives(topic, killer()) == 0
    assert (topic.handled, topic.letters) == (["poison"], [])


async def test_without_rights_to_note_it_events_are_handled_all_the_same() -> None:
    topic = Topic()
    topic.add(asked("x"), asked("y"))
    topic.store.error = Refused("object-store-refused", "refused: the object store answered 403")
    assert await Consuming(topic, killer()).run()
    assert (topic.handled, topic.letters) == (["x", "y"], [])


async def test_a_note_that_cannot_be_read_is_written_over() -> None:
    topic = Topic()
    topic.add(asked("x"))
    await topic.store.put(object_keys.record_in_hand(GROUP, *PARTITION), b"nothing")
    assert await lives(topic, killer()) == 0
    assert (topic.handled, topic.note()) == (["x"], None)


async def test_two_processes_with_the_same_record_in_hand_do_no_harm_to_each_other() -> None:
    """One lost its partition without knowing it; the other one has it."""
    topic = Topic()
    topic.add(asked("x"), asked("y"))
    old, new = Consuming(topic, killer("x")), Consuming(topic, killer())
    handling = asyncio.ensure_future(old.deliver())
    await old.died.wait()
    assert await new.run()
    assert topic.handled == ["x", "y"]
    assert topic.says_nothing()
    handling.cancel()  # it finds out, and gives up what it has in hand
    await asyncio.gather(handling, return_exceptions=True)
    old.act = killer()
    assert await old.run()
    assert (topic.handled[2:], topic.letters) == (["x", "y"], [])
    assert topic.says_nothing()


def test_what_is_noted_lies_in_a_declared_store_and_names_no_tenant() -> None:
    key = object_keys.record_in_hand("inference.replica-0", events.TENANTS, 5)
    store = store_of_key(key)
    assert (store.name, store.protection) == ("consumers.in-hand", "no-tenant-data")
    assert "tenant" not in CrashMarker.model_fields | CrashMarkers.model_fields


ENDS = st.sampled_from(["killed in hand", "killed between", "stopped", "bus out", "store out"])


@examples(60)
@given(st.lists(ENDS, max_size=14))
async def test_a_healthy_event_is_a_dead_letter_only_after_so_many_processes_were_killed_with_it_in_hand(
    ends: list[str],
) -> None:
    topic, killed = Topic(), 0
    topic.add(asked("healthy"))
    for end in ends:
        topic.bus.is_out, topic.store.error = end == "bus out", None
        if end == "store out":
            topic.store.error = StoreUnavailable("x")
            await Consuming(topic, killer("healthy")).run(deliveries=2)
        elif end in ("killed in hand", "bus out"):
            killed += end == "killed in hand"
            await Consuming(topic, killer("healthy")).run(deliveries=1)
        else:
            await Consuming(topic, lambda _: Transient("not yet")).run(deliveries=1 + (end == "stopped"))
        if topic.committed:
            break
    topic.bus.is_out, topic.store.error = False, None
    if not topic.committed:
        assert await lives(topic, killer()) == 0
    assert bool(topic.letters) == (killed >= POLICY.ended_processes)
    assert (topic.handled == ["healthy"]) != bool(topic.letters)
