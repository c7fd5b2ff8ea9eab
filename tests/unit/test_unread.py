"""What streams may leave waiting for their readers, of each and of all of a tenant."""

from __future__ import annotations

import asyncio
import sys

from inference.engine.errors import ReadTooSlowly
from inference.engine.in_flight import EventStream, Flight, Flights
from inference.engine.stream_usage import StreamUsage
from inference.engine.unread import Unread
from inference.engine.vllm_errors import error_events

TOO_SLOW = list(error_events(ReadTooSlowly()))
USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":%d}'
SIZE = 1000


def event(number: int) -> bytes:
    text = b'data: {"choices":[{"index":0}],%s,"x":"' % (USAGE % number)
    return text + b"x" * (SIZE - len(text)) + b'"}\n\n'


class Engine:
    """Flights whose streams may leave four events unread each, and ten together."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.flights = Flights(self._abort)
        shown = sys.getsizeof(event(0))
        self.flights.unread = Unread(stream_bytes=4 * shown, owner_bytes=10 * shown)
        self.streams = 0

    async def _abort(self, engine_ids: list[str]) -> None:
        self.told += engine_ids

    async def stream(self, events: int, owner: str = "t1", *, goes_on: bool = True) -> EventStream:
        """A stream that has made so many events."""
        self.streams += 1
        flight = Flight(str(self.streams), "a", [f"cmpl-{self.streams}"], owner)
        shows_all = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        made = EventStream(self.flights, flight, StreamUsage(shows_all))

        async def work() -> None:
            for number in range(events):
                made.usage.computed(0, 1)
                made.put(event(number))
                await asyncio.sleep(0)
            if goes_on:
                await asyncio.Event().wait()

        self.flights.start(flight, work()).add_done_callback(made.ended)
        for _ in range(2 * events + 3):
            await asyncio.sleep(0)
        return made


async def test_a_stream_whose_reader_is_too_far_behind_ends_its_generation_and_keeps_nothing() -> None:
    engine = Engine()
    stream = await engine.stream(20)
    assert engine.told == ["cmpl-1"], "the engine has been told"
    assert engine.flights.count("a") == 0
    assert engine.flights.unread.total("t1") == 0
    assert [each async for each in stream] == TOO_SLOW
    assert [each async for each in stream] == []
    assert stream.usage.completion_tokens == 5, "what was made until then is charged"


async def test_a_reader_that_keeps_up_is_not_cut_off_however_long_the_stream_is() -> None:
    engine = Engine()
    stream = await engine.stream(4)
    assert [await anext(stream) for _ in range(4)] == [event(number) for number in range(4)]
    for number in range(100):
        stream.put(event(number))
        assert await anext(stream) == event(number)
    assert engine.told == []
    assert engine.flights.unread.total("t1") == 0
    await stream.aclose()


async def test_where_too_much_of_a_tenants_streams_waits_the_one_furthest_behind_is_cut_off() -> None:
    engine = Engine()
    ahead, behind, whole = await engine.stream(3), await engine.stream(4), await engine.stream(3, goes_on=False)
    other = await engine.stream(4, "t10")
    assert engine.told == ["cmpl-3"], "whole: it has ended by itself"
    newest = await engine.stream(1)
    assert engine.told == ["cmpl-3", "cmpl-2"]
    assert [each async for each in behind] == TOO_SLOW
    for stream in (ahead, other, newest):
        await stream.aclose()
    assert len([each async for each in whole]) == 3
    assert engine.flights.unread.total("t1") == engine.flights.unread.total("t10") == 0


async def test_a_stream_that_is_made_and_not_read_is_cut_off_too_where_its_tenant_has_too_much() -> None:
    engine = Engine()
    made = await engine.stream(4, goes_on=False)
    others = [await engine.stream(3) for _ in range(2)]
    assert engine.flights.count("a") == 2
    others.append(await engine.stream(1))
    assert [each async for each in made] == TOO_SLOW
    assert engine.told == ["cmpl-1"]
    for stream in others:
        await stream.aclose()


async def test_what_a_caller_leaves_unread_when_it_goes_counts_no_more() -> None:
    engine = Engine()
    given_up, closed = await engine.stream(3), await engine.stream(3)
    given_up.give_up()
    await closed.aclose()
    assert engine.flights.unread.total("t1") == 0
    given_up.put(event(9))
    assert engine.flights.unread.total("t1") == 0, "also of what is made until it has ended"


async def test_a_reader_that_waits_while_its_stream_is_cut_off_is_told() -> None:
    engine = Engine()
    stream = await engine.stream(0)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    stream.cut_off()
    assert await asyncio.wait_for(reading, 10) == TOO_SLOW[0]
    assert [each async for each in stream] == TOO_SLOW[1:]
