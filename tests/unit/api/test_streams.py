"""Answers as they are sent: whole or in events, metered, and given up when the caller goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, MutableMapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from inference.api.answers import Answer, Answers, HeldStream
from inference.api.routes import _while_waited_for
from inference.engine.errors import EngineRefused
from inference.engine.in_flight import EventStream, Flight
from inference.engine.stream_usage import StreamUsage
from inference.engine.vllm_errors import error_events
from inference.tenants.usage import Amounts
from schemas.serving_api import ADAPTER_HEADER
from tenancy.service.connections import STRAIGHT
from tenancy.state.activation import activated
from tests.unit.api.replica import (
    ACTIVE,
    BODIES,
    CHAT,
    COMPLETIONS,
    COUNTED_EVENTS,
    DONE,
    EARLIER,
    FOREIGN,
    OTHER,
    TENANT,
    TEXT_EVENTS,
    USAGE,
    USAGE_EVENT,
    WITHDRAWN,
    Bench,
    bearer,
    code,
)


def events_of(response: httpx.Response) -> list[bytes]:
    return [event + b"\n\n" for event in response.content.split(b"\n\n") if event]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_passes_through_without_the_usage_that_nobody_asked_for(bench: Bench, path: str) -> None:
    response = await bench.post(path, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers[ADAPTER_HEADER] == ACTIVE
    assert events_of(response) == [*TEXT_EVENTS, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)
    assert bench.holds() == 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_ends_with_its_usage_when_it_was_asked_for(bench: Bench, path: str) -> None:
    response = await bench.post(path, stream=True, stream_options={"include_usage": True})
    assert events_of(response) == [*TEXT_EVENTS, USAGE_EVENT, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


async def test_every_event_has_its_usage_when_that_was_asked_for(bench: Bench) -> None:
    response = await bench.post(
        CHAT, stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}
    )
    assert events_of(response) == [*COUNTED_EVENTS, USAGE_EVENT, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
async def test_usage_is_metered_whatever_the_caller_wants_to_see(bench: Bench, options: Any) -> None:
    response = await bench.post(CHAT, stream=True, stream_options=options)
    assert events_of(response) == [*TEXT_EVENTS, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


@pytest.mark.parametrize(
    "options",
    [
        1,
        [1],
        "x",
        [["include_usage", True]],
        {"include_usage": "no"},
        {"include_usage": 1},
        {"include_obfuscation": True},
    ],
)
async def test_stream_options_of_another_shape_are_refused(bench: Bench, options: Any) -> None:
    response = await bench.post(CHAT, stream=True, stream_options=options)
    assert (response.status_code, code(response)) == (400, "engine_refused")
    assert response.json()["error"]["param"].startswith("stream_options")
    assert bench.engine.asked == []


async def test_a_whole_answer_is_metered_for_its_tenant(bench: Bench) -> None:
    response = await bench.post(CHAT)
    assert response.json()["usage"] == USAGE
    await bench.post(CHAT, OTHER)
    await bench.post(CHAT, OTHER, model="base")
    assert bench.meter.take() == {TENANT: Amounts(5, 7), OTHER: Amounts(10, 14)}
    assert bench.meter.take() == {}


async def _asgi(
    bench: Bench, *, events_before_leaving: int, spec_version: str, straight: Any = None, **fields: Any
) -> list[dict[str, Any]]:
    """A caller that goes away: at once, or after so many events of the stream. ``straight`` is what the server offers
    to give events to.
    """
    body = json.dumps({**BODIES[CHAT], "stream": True, **fields}).encode()
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()
    if not events_before_leaving:
        left.set()
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (message := next(requests, None)) is not None:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if left.is_set() and spec_version == "2.4":
            raise OSError("the caller is gone")
        sent.append(dict(message))
        if sum(m["type"] == "http.response.body" for m in sent) >= events_before_leaving > 0:
            left.set()

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer(TENANT).items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("replica", 80),
        "client": ("caller", 1),
        "root_path": "",
        "extensions": {} if straight is None else {STRAIGHT: {"write": straight}},
    }
    async with asyncio.timeout(10):
        try:
            await bench.app(scope, receive, send)
        except Exception as error:  # what the server makes of a send that fails is its own business
            assert spec_version == "2.4", repr(error)
    return sent


def _kept_answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """Every answer, kept: or the garbage collector would let go what the code has forgotten."""
    kept: list[Answer] = []
    answer = Answers.answer

    async def kept_answer(self: Answers, *arguments: Any) -> Answer:
        kept.append(await answer(self, *arguments))
        return kept[-1]

    monkeypatch.setattr(Answers, "answer", kept_answer)
    return kept


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize(("events", "stalls"), [(0, False), (0, True), (1, True), (1, False), (2, False)])
async def test_a_caller_that_goes_away_leaves_no_hold_on_its_adapter(
    bench: Bench, events: int, stalls: bool, spec_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kept_answers(monkeypatch)
    bench.engine.stalls = stalls and spec_version == "2.3"
    await _asgi(bench, events_before_leaving=events, spec_version=spec_version)
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.holds() == 0
    assert bench.engine.inflight(ACTIVE) == 0, "its generation is ended"
    assert bench.meter._running == {}, "and is charged no more"


def _made_one_by_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event comes when its reader waits for it."""

    async def pump(stream: EventStream, events: Iterable[bytes]) -> None:
        for event in events:
            for _ in range(20):
                await asyncio.sleep(0)
            stream.put(event)

    monkeypatch.setattr(bench.engine, "_pump", pump)


def _told(sent: Iterable[dict[str, Any]]) -> list[bytes]:
    return [message["body"] for message in sent if message.get("body")]


async def test_a_stream_goes_straight_to_a_connection_that_takes_it_and_is_metered_as_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _made_one_by_one(bench, monkeypatch)
    given: list[bytes] = []

    def straight(event: bytes) -> bool:
        given.append(event)
        return True

    sent = await _asgi(bench, events_before_leaving=99, spec_version="2.3", straight=straight)
    assert given == [*TEXT_EVENTS, DONE]
    assert _told(sent) == []
    assert (sent[0]["status"], sent[-1]["more_body"]) == (200, False)
    assert bench.meter.take() == {TENANT: Amounts(5, 7)}
    assert bench.holds() == 0


@pytest.mark.parametrize("model", ["active", "base"])
async def test_nothing_goes_straight_of_an_answer_by_an_adapter_once_the_lease_is_over(
    bench: Bench, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _made_one_by_one(bench, monkeypatch)
    given: list[bytes] = []

    def straight(event: bytes) -> bool:
        given.append(event)
        bench.now += timedelta(seconds=30)
        return True

    sent = await _asgi(bench, events_before_leaving=99, spec_version="2.3", straight=straight, model=model)
    assert given == ([*TEXT_EVENTS, DONE] if model == "base" else TEXT_EVENTS[:1])
    assert [b'"code": 503' in event for event in _told(sent)] == ([] if model == "base" else [True, False])


async def test_the_event_before_the_last_one_is_given_out_first_by_a_stream_that_goes_straight(bench: Bench) -> None:
    flights, given = bench.engine.flights, list[bytes]()
    events = EventStream(flights, Flight("r", None, [], TENANT), StreamUsage({}))
    stream = HeldStream(events, AsyncExitStack(), lambda: None, b"closing")

    def straight(event: bytes) -> bool:
        given.append(event)
        return True

    stream.send_straight(straight)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    events.put(TEXT_EVENTS[0], DONE)
    assert given == TEXT_EVENTS[:1]
    assert [await reading, await anext(stream)] == [b"closing", DONE]
    await stream.aclose()


MANY = 2000


async def test_a_stream_that_makes_an_event_at_every_turn_ends_when_its_caller_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that waits for what has come in the meantime is not cancelled by anyio, which tries again at the next
    turn of the event loop: when the next event has come.
    """
    made = 0

    async def pump(stream: EventStream, _: Iterable[bytes]) -> None:
        nonlocal made
        while made < MANY:
            made += 1
            stream.put(TEXT_EVENTS[1])
            await asyncio.sleep(0)

    monkeypatch.setattr(bench.engine, "_pump", pump)
    await _asgi(bench, events_before_leaving=2, spec_version="2.3")
    assert made < 100, "the generation ends within some turns"
    assert bench.engine.inflight(ACTIVE) == 0


@pytest.mark.parametrize("turns", range(6))
async def test_a_response_that_is_cancelled_and_cancelled_again_leaves_no_hold(
    bench: Bench, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _kept_answers(monkeypatch)
    bench.engine.stalls = True
    response = asyncio.create_task(_asgi(bench, events_before_leaving=100, spec_version="2.3"))
    while not kept:
        await asyncio.sleep(0)
    for _ in range(2):
        for _ in range(turns):
            await asyncio.sleep(0)
        response.cancel()
    await asyncio.gather(response, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert response.cancelled()
    assert bench.holds() == 0
    assert bench.engine.inflight(ACTIVE) == 0


# --- metered by what was made, whoever reads it


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("events", [1, 2])
async def test_a_caller_that_hangs_up_after_the_last_text_is_charged_for_the_whole_answer(
    bench: Bench, events: int, spec_version: str
) -> None:
    await _asgi(bench, events_before_leaving=events, spec_version=spec_version)
    assert bench.meter.take() == {TENANT: Amounts(5, 7)}
    assert bench.meter.take() == {}, "once"


async def test_a_stream_that_is_given_up_halfway_is_charged_for_what_was_made_until_then(bench: Bench) -> None:
    bench.engine.stalls = True
    await _asgi(bench, events_before_leaving=1, spec_version="2.3")
    assert bench.meter.take() == {TENANT: Amounts(5, 3)}


async def test_a_stream_ends_on_the_adapter_with_which_it_began_whatever_becomes_active_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()

    async def slowly(stream: EventStream, events: Iterable[bytes]) -> None:
        first, *others = events
        stream.put(first)
        await goes_on.wait()
        stream.put(*others)

    monkeypatch.setattr(bench.engine, "_pump", slowly)
    asked = {**BODIES[CHAT], "stream": True}
    begun = await bench.answers.answer(TENANT, "chat", asked)
    assert isinstance(begun.body, HeldStream)
    assert (begun.adapter, await anext(begun.body)) == (ACTIVE, TEXT_EVENTS[0])
    await bench.tenancy.outbox.swap(TENANT, activated(EARLIER, bench.tenancy.outbox.entry))
    async with bench.placement.held(TENANT, EARLIER):
        pass  # until then the one before would answer
    for tenant, adapter in ((TENANT, EARLIER), (OTHER, FOREIGN)):  # the second takes the place of the first
        assert (await bench.post(CHAT, tenant)).headers[ADAPTER_HEADER] == adapter
    assert bench.engine.names.keys() == {ACTIVE, FOREIGN}
    goes_on.set()
    assert [event async for event in begun.body] == [TEXT_EVENTS[1], DONE]
    await begun.body.aclose()
    assert bench.holds() == 0


async def test_an_answer_that_a_purge_cuts_short_is_charged_for_what_was_made_until_then(bench: Bench) -> None:
    bench.engine.stalls = True
    stream = (await bench.answers.answer(TENANT, "chat", {**BODIES[CHAT], "stream": True})).body
    assert isinstance(stream, HeldStream)
    assert await anext(stream) == TEXT_EVENTS[0]
    assert await bench.engine.flights.abort(ACTIVE) == 1
    assert [event async for event in stream] == [*WITHDRAWN]
    for _ in range(2):
        await stream.aclose()
    assert bench.meter.take() == {TENANT: Amounts(5, 3)}
    assert bench.holds() == 0


async def test_a_reader_that_takes_nothing_keeps_no_place_for_adapters_and_is_charged_no_time(bench: Bench) -> None:
    stream = (await bench.answers.answer(TENANT, "chat", {**BODIES[CHAT], "stream": True})).body
    assert isinstance(stream, HeldStream)
    async with asyncio.timeout(30):
        while bench.holds():
            await asyncio.sleep(0)
    assert bench.meter._running == {}
    assert bench.meter.take() == {TENANT: Amounts(5, 7)}
    assert [event async for event in stream] == [*TEXT_EVENTS, DONE], "it is there all the same"
    await stream.aclose()
    assert bench.meter.take() == {}, "once"


def test_an_error_in_a_stream_is_of_openais_types() -> None:
    error = json.loads(WITHDRAWN[0].removeprefix(b"data: "))["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, 503)
    event, _ = error_events(EngineRefused(400, "top_k is not valid for this model", field="top_k"))
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "top_k", 400)


# --- whole answers of callers who do not wait for them


async def _left_alone(bench: Bench, *, is_cancelled: bool) -> list[MutableMapping[str, Any]]:
    """Ask for a whole answer that is never made, and leave once the engine was asked; what was sent."""
    body = [{"type": "http.request", "body": json.dumps(BODIES[CHAT]).encode(), "more_body": False}]
    sent: list[MutableMapping[str, Any]] = []
    left = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if body:
            return body.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer(TENANT).items()]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b"", "root_path": ""}
    request = asyncio.create_task(bench.app({**scope, "http_version": "1.1"}, receive, send))
    while not bench.engine.asked:
        await asyncio.sleep(0)
    if is_cancelled:
        request.cancel()
    else:
        left.set()
    async with asyncio.timeout(30):
        await asyncio.gather(request, return_exceptions=True)
    assert request.cancelled() == is_cancelled
    return sent


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["caller leaves", "server stops"])
async def test_a_whole_answer_that_nobody_waits_for_any_more_is_not_made_on(bench: Bench, is_cancelled: bool) -> None:
    bench.engine.stalls = True
    sent = await _left_alone(bench, is_cancelled=is_cancelled)
    assert [message["status"] for message in sent[:1]] == ([] if is_cancelled else [400])
    async with asyncio.timeout(30):
        while bench.holds() or bench.meter._running or bench.api.running._running:
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["caller leaves", "server stops"])
async def test_a_whole_answer_that_is_given_up_halfway_is_charged_for_what_was_made_until_then(
    bench: Bench, is_cancelled: bool
) -> None:
    """Else a tenant that always leaves shortly before the end has the engine for nothing, and its turn always next."""
    bench.engine.stalls, bench.engine.computes = True, (5, 3)
    await _left_alone(bench, is_cancelled=is_cancelled)
    bench.turns.rates.now = bench.turns.now = lambda: 0.0
    async with asyncio.timeout(30):
        while bench.holds():
            await asyncio.sleep(0)
    taken = bench.meter.take()[TENANT]
    assert (taken.prompt_tokens, taken.completion_tokens) == (5, 3)
    policy = (await bench.answers.views.active(TENANT)).policy
    assert bench.turns.rates._accounts[TENANT].tokens.left == policy.tokens_per_minute - 8


async def test_a_stream_that_is_made_in_the_moment_in_which_its_request_is_cancelled_ends(bench: Bench) -> None:
    bench.engine.stalls = True

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def work() -> Answer:
        made = await bench.answers.answer(TENANT, "chat", {**BODIES[CHAT], "stream": True})
        request.cancel()
        return made

    request = asyncio.create_task(_while_waited_for(Request({"type": "http"}, receive), work()))
    async with asyncio.timeout(30):
        await asyncio.gather(request, return_exceptions=True)
        assert request.cancelled()
        while bench.holds() or bench.engine.inflight(ACTIVE):
            await asyncio.sleep(0)
