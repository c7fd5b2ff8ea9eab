from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from inference.engine.errors import AdapterWithdrawn, EngineDead, EngineRefused
from inference.engine.in_flight import TOLD_EACH, EventStream, Flight, Flights, result_of
from inference.engine.stream_usage import StreamUsage
from inference.engine.vllm_errors import error_events

ONE, TWO = b'data: {"choices":[{"index":0}]}\n\n', b'data: {"choices":[{"index":1}]}\n\n'
WITHDRAWN = error_events(AdapterWithdrawn())


class Aborts:
    """Stands in for vLLM's abort: remembers what it was told to end."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def __call__(self, engine_ids: list[str]) -> None:
        await asyncio.sleep(0)
        self.told += engine_ids


@pytest.fixture
def aborts() -> Aborts:
    return Aborts()


@pytest.fixture
def flights(aborts: Aborts) -> Flights:
    return Flights(aborts)


async def for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


async def endless_stream(flights: Flights) -> EventStream:
    """Of an answer by the adapter ``a`` that has one event and is never made."""
    flight = Flight("1", "a", [], "t1")
    stream = EventStream(flights, flight, StreamUsage({}))

    async def work() -> None:
        stream.put(ONE)
        await for_ever()

    flights.start(flight, work()).add_done_callback(stream.ended)
    await asyncio.sleep(0)
    return stream


async def swallows_cancellation() -> str:
    """As vLLM's serving classes do: they answer a cancellation with an error response."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "client disconnected"
    return "never"


async def test_a_flight_counts_from_its_start_until_its_work_has_ended(flights: Flights) -> None:
    done = asyncio.Event()
    flight = Flight("1", "a", ["chatcmpl-1"], "t1")
    task = flights.start(flight, done.wait())
    assert (flights.count("a"), flights.count("b"), flights.count(None)) == (1, 0, 0)
    done.set()
    assert await result_of(flights, flight, task) is True
    assert flights.count("a") == 0


async def test_an_owners_requests_end_together_whatever_answers_them_and_nobody_elses(
    flights: Flights, aborts: Aborts
) -> None:
    by_adapter, by_base = Flight("1", "a", ["cmpl-1"], "t1"), Flight("2", None, ["cmpl-2"], "t1")
    other = Flight("3", None, ["cmpl-3"], "t10")
    tasks = [flights.start(flight, for_ever()) for flight in (by_adapter, by_base, other)]
    await asyncio.sleep(0)
    assert (flights.count_of("t1"), flights.count_of("t10")) == (2, 1)
    assert await flights.abort_of("t1") == 2
    assert sorted(aborts.told) == ["cmpl-1", "cmpl-2"]
    for flight, task in zip((by_adapter, by_base), tasks, strict=False):
        with pytest.raises(AdapterWithdrawn):
            await result_of(flights, flight, task)
    assert not tasks[2].done()
    await flights.end_all()


@pytest.mark.parametrize("work", [for_ever, swallows_cancellation])
async def test_withdrawing_ends_the_adapters_flights_tells_the_engine_and_leaves_others(
    flights: Flights, aborts: Aborts, work: type
) -> None:
    ours = Flight("1", "a", ["cmpl-1-0", "cmpl-1-1"], "t1")
    others = Flight("2", "b", ["cmpl-2-0"], "t1")
    waiting = asyncio.create_task(result_of(flights, ours, flights.start(ours, work())))
    flights.start(others, for_ever())
    await asyncio.sleep(0)
    assert await flights.abort("a") == 1
    assert (flights.count("a"), flights.count("b")) == (0, 1)
    assert aborts.told == ["cmpl-1-0", "cmpl-1-1"]
    with pytest.raises(AdapterWithdrawn):
        await waiting
    await flights.end_all()


@pytest.mark.parametrize("work", [for_ever, swallows_cancellation])
async def test_a_caller_that_is_cancelled_ends_its_flight_and_stays_cancelled(
    flights: Flights, aborts: Aborts, work: type
) -> None:
    flight = Flight("1", "a", ["chatcmpl-1"], "t1")
    waiting = asyncio.create_task(result_of(flights, flight, flights.start(flight, work())))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert flights.count("a") == 0
    assert aborts.told == ["chatcmpl-1"]


async def test_ending_a_flight_twice_does_not_cut_off_the_abort(flights: Flights, aborts: Aborts) -> None:
    flight = Flight("1", "a", ["chatcmpl-1"], "t1")
    flights.start(flight, for_ever())
    await asyncio.sleep(0)
    await asyncio.gather(flights.abort("a"), flights.end([flight]), flights.end_all())
    assert aborts.told == ["chatcmpl-1"]


async def fails() -> str:
    await asyncio.sleep(0)
    raise ValueError("the request does not pack")


async def is_done() -> str:
    await asyncio.sleep(0)
    return "done"


async def test_the_engine_is_told_also_of_work_that_failed_or_ended_by_itself(flights: Flights, aborts: Aborts) -> None:
    """vLLM may know the ids still: it registers a request before it hands it on, and what it answers with an error
    event ends like a whole answer."""
    failed, ended = Flight("1", "a", ["chatcmpl-1"], "t1"), Flight("2", "a", ["chatcmpl-2"], "t1")
    with pytest.raises(ValueError, match="does not pack"):
        await result_of(flights, failed, flights.start(failed, fails()))
    assert aborts.told == ["chatcmpl-1"]
    assert await result_of(flights, ended, flights.start(ended, is_done())) == "done"
    assert aborts.told == ["chatcmpl-1", "chatcmpl-2"]


async def test_ending_a_flight_whose_work_has_failed_does_not_cut_off_its_abort(
    flights: Flights, aborts: Aborts
) -> None:
    flight = Flight("1", "a", ["chatcmpl-1"], "t1")
    task = flights.start(flight, fails())
    while not flight.aborting:
        await asyncio.sleep(0)
    assert (flights.count("a"), task.done(), aborts.told) == (1, False, []), "it is being told"
    await flights.end([flight])
    assert aborts.told == ["chatcmpl-1"]


async def test_two_running_flights_cannot_share_an_id(flights: Flights) -> None:
    flights.start(Flight("1", "a", [], "t1"), for_ever())
    with pytest.raises(EngineRefused) as refused:
        flights.start(Flight("1", "b", [], "t1"), for_ever())
    assert refused.value.status == 409
    assert flights.count("a") == 1
    await flights.end_all()


async def test_a_stream_nobody_reads_does_not_keep_the_adapter_in_use(flights: Flights) -> None:
    flight = Flight("1", "a", [], "t1")
    stream = EventStream(flights, flight, StreamUsage({}))

    async def work() -> None:
        stream.put(ONE, TWO)

    flights.start(flight, work()).add_done_callback(stream.ended)
    await asyncio.sleep(0.01)
    assert flights.count("a") == 0
    assert [event async for event in stream] == [ONE, TWO]
    assert [event async for event in stream] == []


async def test_a_withdrawn_stream_says_so_after_what_it_had(flights: Flights) -> None:
    stream = await endless_stream(flights)
    await flights.abort("a")
    assert [event async for event in stream] == [ONE, *WITHDRAWN]


@pytest.mark.parametrize("work", [for_ever, swallows_cancellation])
async def test_an_engine_that_stops_says_so_to_all_and_keeps_no_answer_that_is_there(
    flights: Flights, work: type
) -> None:
    """Not as vLLM does, which takes the end for the caller's: an invalid request."""
    ours, done = Flight("1", "a", ["chatcmpl-1"], "t1"), Flight("2", None, ["chatcmpl-2"], "t2")
    waiting = asyncio.create_task(result_of(flights, ours, flights.start(ours, work())))
    answered = asyncio.create_task(result_of(flights, done, flights.start(done, is_done())))
    while not done.aborting:
        await asyncio.sleep(0)
    await flights.end_all()
    with pytest.raises(EngineDead):
        await waiting
    assert await answered == "done"


async def test_a_stream_of_an_engine_that_stops_ends_with_the_error_and_not_as_if_it_were_whole(
    flights: Flights,
) -> None:
    stream = await endless_stream(flights)
    await flights.end_all()
    assert [event async for event in stream] == [ONE, *error_events(EngineDead())]


# --- events that go straight to a reader who waits


@dataclass
class Given:
    """Takes events at once, until it is told that its reader is behind."""

    events: list[bytes] = field(default_factory=list)
    is_behind: bool = False

    def __call__(self, event: bytes) -> bool:
        if not self.is_behind:
            self.events.append(event)
        return not self.is_behind


async def waited_for(stream: EventStream) -> asyncio.Task[bytes]:
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    return reading


async def test_an_event_goes_straight_to_a_reader_who_waits_and_never_past_one_that_is_there(flights: Flights) -> None:
    stream, given = await endless_stream(flights), Given()
    stream.straight = given
    stream.put(TWO)
    assert given.events == [], "nobody waits"
    assert [await anext(stream) for _ in range(2)] == [ONE, TWO]
    reading = await waited_for(stream)
    stream.put(ONE, TWO)
    assert given.events == [ONE, TWO]
    given.is_behind = True
    stream.put(TWO)
    given.is_behind = False
    stream.put(ONE)
    assert await reading == TWO
    stream.put(TWO)
    assert given.events == [ONE, TWO], "the reader gives out what it has fetched"
    assert [await anext(stream) for _ in range(2)] == [ONE, TWO]
    await stream.aclose()


async def test_a_withdrawal_is_told_straight_and_ends_the_stream_of_a_reader_who_waits(flights: Flights) -> None:
    stream, given = await endless_stream(flights), Given()
    stream.straight = given
    assert await anext(stream) == ONE
    reading = await waited_for(stream)
    await flights.abort("a")
    assert given.events == [*WITHDRAWN]
    with pytest.raises(StopAsyncIteration):
        await reading


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_nothing_goes_straight_to_a_reader_who_has_left(flights: Flights, is_waited_for: bool) -> None:
    stream, given = await endless_stream(flights), Given()
    stream.straight = given
    assert await anext(stream) == ONE
    reading = await waited_for(stream)
    if not is_waited_for:
        reading.cancel()
    stream.give_up()
    stream.put(TWO)
    assert given.events == []
    reading.cancel()
    await stream.aclose()


async def test_what_a_stream_has_used_is_told_every_few_tokens_and_at_its_end(flights: Flights) -> None:
    stream = await endless_stream(flights)
    told: list[tuple[int, int]] = []
    stream.on_used = lambda prompt, completion: told.append((prompt, completion))
    stream.usage.computed(9, 0)
    for _ in range(2 * TOLD_EACH + 2):
        stream.usage.computed(0, 1)
        stream.put(TWO)
    assert told == [(9, 1), (9, 1 + TOLD_EACH), (9, 1 + 2 * TOLD_EACH)]
    await stream.aclose()
    assert told[3:] == [(9, 2 + 2 * TOLD_EACH)]
