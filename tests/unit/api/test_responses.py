"""POST /v1/responses: a chat in other words, read by the real client of OpenAI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseOutputMessage, ResponseReasoningItem

from inference.engine.errors import EngineRefused
from inference.engine.in_flight import EventStream, Flight
from inference.engine.ports import Asking
from inference.engine.request_fields import chat_fields
from inference.engine.stream_usage import StreamUsage
from inference.tenants.usage import Amounts
from tests.unit.api.replica import (
    ACTIVE,
    DONE,
    EARLIER,
    OTHER,
    PLAIN,
    PURGED,
    TENANT,
    USAGE,
    WITHDRAWN,
    AnsweringEngine,
    Asked,
    Bench,
    bearer,
    code,
    named,
)
from tests.unit.api.test_credentials import key
from tests.unit.api.test_retrieval import Told, cited

PATH = "/v1/responses"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}
SCHEMA = {"type": "object", "properties": {"dose": {"type": "integer"}}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Oslo"}'}}


@dataclass
class SayingEngine(AnsweringEngine):
    """Answers with this message, in a stream with these deltas."""

    message: Mapping[str, Any] = field(default_factory=lambda: {"role": "assistant", "content": "Five mg."})
    deltas: tuple[Mapping[str, Any], ...] = (
        {"role": "assistant", "content": ""},
        {"content": "Five"},
        {"content": " mg."},
    )
    finish_reason: str = "stop"
    usage: Mapping[str, Any] = field(default_factory=lambda: USAGE)
    end: tuple[bytes, ...] = ()

    async def chat(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> dict[str, Any] | EventStream:
        fields, request_id = chat_fields(body, **named(asking)), asking["request_id"]
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(Asked(asking["adapter"], fields))
        common = {"id": f"chatcmpl-{request_id}", "created": 1, "model": fields["model"]}
        if not fields.get("stream"):
            choice = {"index": 0, "message": self.message, "finish_reason": self.finish_reason}
            return {**common, "choices": [choice], "usage": self.usage}
        flight = Flight(request_id, asking["adapter"], [request_id], asking["owner"])
        stream = EventStream(self.flights, flight, StreamUsage(body))
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in self.deltas]
        chunks = [{**common, "choices": [each], "usage": self.usage} for each in choices]
        chunks += [
            {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": self.finish_reason}], "usage": self.usage}
        ]
        closing = (_event({**common, "choices": [], "usage": self.usage}), DONE)
        events = [*(_event(chunk) for chunk in chunks), *(self.end or closing)]
        self.flights.start(flight, self._pump(stream, events)).add_done_callback(stream.ended)
        return stream


def _event(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


@pytest.fixture
def engine() -> SayingEngine:
    return SayingEngine()


@pytest.fixture
async def bench(engine: SayingEngine) -> Bench:
    made = Bench(engine)
    await made.start()
    return made


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[openai.AsyncOpenAI]:
    token = bearer(TENANT)["Authorization"].removeprefix("Bearer ")
    async with bench.client() as made:
        http: Any = made  # of httpx, which the client takes beside its own
        yield openai.AsyncOpenAI(api_key=token, base_url="http://replica/v1", http_client=http, max_retries=0)


async def ask(bench: Bench, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    async with bench.client() as http:
        return await http.post(PATH, json={"input": "q", **body}, headers=headers or bearer(TENANT))


def strictly(response: Any) -> Response:
    """Checked as a pydantic model: the client itself takes whatever it gets."""
    return Response.model_validate(response)


async def test_text_is_answered_as_a_chat_by_the_tenants_adapter_and_metered(
    bench: Bench, engine: SayingEngine, client: openai.AsyncOpenAI
) -> None:
    answer = await client.responses.create(
        model="active", input="Which dose?", instructions="Be brief.", max_output_tokens=9, temperature=0.5
    )
    [asked] = engine.asked
    assert asked.adapter == ACTIVE
    assert asked.fields["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which dose?"},
    ]
    assert (asked.fields["max_completion_tokens"], asked.fields["temperature"]) == (9, 0.5)
    assert (answer.output_text, answer.status, answer.model, answer.error) == ("Five mg.", "completed", ACTIVE, None)
    assert answer.id == f"resp_{asked.fields['request_id']}"
    assert (answer.instructions, answer.max_output_tokens, answer.temperature) == ("Be brief.", 9, 0.5)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (5, 7, 12)
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_comes_out_is_a_response_to_openais_own_models(
    bench: Bench, engine: SayingEngine, stream: bool
) -> None:
    engine.message = {"role": "assistant", "content": "Hm.", "reasoning": "Well.", "tool_calls": [CALL]}
    engine.deltas = ({"reasoning": "Well."}, {"content": "Hm."}, {"tool_calls": [{**CALL, "index": 0}]})
    engine.usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}
    asked: dict[str, Any] = {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "metadata": {"a": "b"},
    }
    got = await ask(bench, stream=stream, instructions="i", **asked)
    assert got.status_code == 200, got.text
    answer = strictly(of_stream(got)[-1]["response"] if stream else got.json())
    thought, said, called = answer.output
    assert isinstance(thought, ResponseReasoningItem)
    assert isinstance(said, ResponseOutputMessage)
    assert isinstance(called, ResponseFunctionToolCall)
    assert thought.content is not None
    assert (thought.content[0].text, answer.output_text) == ("Well.", "Hm.")
    assert (called.call_id, called.name, called.arguments) == ("call-1", "weather", '{"place": "Oslo"}')
    assert answer.metadata == {}  # labels may name a patient
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (7, 4)


def of_stream(got: httpx.Response) -> list[dict[str, Any]]:
    """The events' data; each is named as its type says, and they are numbered without gaps."""
    assert got.headers["Content-Type"].startswith("text/event-stream")
    found = []
    for number, event in enumerate(filter(None, got.text.split("\n\n"))):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert (name, found[-1]["sequence_number"]) == (f"event: {found[-1]['type']}", number)
    return found


async def test_a_stream_has_the_documented_events_and_the_client_puts_it_together(
    bench: Bench, client: openai.AsyncOpenAI
) -> None:
    async with client.responses.stream(model="active", input="Which dose?") as stream:
        types = [event.type async for event in stream]
        answer = await stream.get_final_response()
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert (answer.output_text, answer.model) == ("Five mg.", ACTIVE)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 7
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


async def test_calls_are_streamed_each_as_an_item_of_its_own(
    bench: Bench, engine: SayingEngine, client: openai.AsyncOpenAI
) -> None:
    def part(index: int, arguments: str, **named: Any) -> dict[str, Any]:
        name = {"name": "weather"} if named else {}
        return {"tool_calls": [{"index": index, **named, "function": {**name, "arguments": arguments}}]}

    engine.deltas = (part(0, "", id="a"), part(0, '{"x":'), part(0, "1}"), part(1, "{}", id="b"))
    engine.finish_reason = "tool_calls"
    tools: Any = [WEATHER]
    async with client.responses.stream(model="active", input="q", tools=tools) as stream:
        types = [event.type async for event in stream]
        answer = await stream.get_final_response()
    calls = [item for item in answer.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("a", "weather", '{"x":1}'),
        ("b", "weather", "{}"),
    ]
    assert types.count("response.function_call_arguments.delta") == 3
    assert types.count("response.function_call_arguments.done") == 2
    assert len(answer.output) == 2
    assert answer.status == "completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_its_length_cuts_off_is_incomplete(
    bench: Bench, engine: SayingEngine, stream: bool
) -> None:
    engine.finish_reason = "length"
    got = await ask(bench, stream=stream, max_output_tokens=2)
    last = of_stream(got)[-1] if stream else {"type": "response.incomplete", "response": got.json()}
    answer = strictly(last["response"])
    assert (last["type"], answer.status) == ("response.incomplete", "incomplete")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_a_word_has_a_message_without_text(
    bench: Bench, engine: SayingEngine, stream: bool
) -> None:
    engine.message, engine.deltas = {"role": "assistant", "content": None}, ()
    got = await ask(bench, stream=stream)
    answer = strictly(of_stream(got)[-1]["response"] if stream else got.json())
    assert [item.type for item in answer.output] == ["message"]
    assert answer.output_text == ""


async def test_a_stream_that_fails_says_so_last_and_holds_what_was_said(bench: Bench, engine: SayingEngine) -> None:
    engine.end = WITHDRAWN
    events = of_stream(await ask(bench, stream=True))
    assert [event["type"] for event in events][-2:] == ["response.output_item.done", "response.failed"]
    answer = strictly(events[-1]["response"])
    assert answer.error is not None
    assert (answer.status, answer.error.code) == ("failed", "server_error")
    assert "withdrawn" in answer.error.message
    assert (answer.output_text, events[-2]["item"]["status"]) == ("Five mg.", "incomplete")


async def test_a_conversation_is_given_back_item_by_item(bench: Bench, engine: SayingEngine) -> None:
    engine.message = {"role": "assistant", "content": "I look.", "tool_calls": [CALL], "reasoning": "Hm."}
    first = (await ask(bench, tools=[WEATHER])).json()
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user", "content": "Weather?"},
        *first["output"],
        {"type": "function_call_output", "call_id": "call-1", "output": "rain"},
    ]
    assert (await ask(bench, input=items, tools=[WEATHER])).status_code == 200
    assert engine.asked[-1].fields["messages"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call-1", "content": "rain"},
    ]


async def test_schemas_and_tools_reach_the_engine_as_a_chats_and_are_tried_first(
    bench: Bench, engine: SayingEngine
) -> None:
    named = {"name": "dose", "schema": SCHEMA, "strict": True}
    await ask(bench, text={"format": {"type": "json_schema", **named}})
    assert engine.asked[-1].fields["response_format"] == {"type": "json_schema", "json_schema": named}
    await ask(bench, tools=[WEATHER], tool_choice={"type": "function", "name": "weather"})
    assert engine.asked[-1].fields["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert engine.asked[-1].fields["tools"][0]["function"]["name"] == "weather"
    assert [constraint.field for _, constraint in bench.grammars.tried] == ["response_format", "tools"]
    assert {owner for owner, _ in bench.grammars.tried} == {TENANT}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "no name", "arguments": "{}"}]}, "input"),
        ({"instructions": 7}, "instructions"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, "reasoning"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name"),
        ({"text": "plain"}, "text"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{**WEATHER, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "none"}}, "tool_choice"),
        ({"retrieval": {"top_k": "2"}}, "retrieval.top_k"),
        ({"user\ud800": 1}, "a field"),
    ],
)
async def test_what_is_not_allowed_is_refused_in_this_routes_names(
    bench: Bench, engine: SayingEngine, body: dict[str, Any], field: str
) -> None:
    got = await bench.raw(json.dumps({"input": "q", **body}).encode(), PATH)
    error = got.json()["error"]
    assert (got.status_code, error["param"]) == (400, field)
    assert error["message"].startswith(field)
    assert engine.asked == []


@pytest.mark.parametrize("body", [{"store": False}, {"store": None}, {"background": False}, {"truncation": "disabled"}])
async def test_defaults_that_clients_send_are_taken(bench: Bench, body: dict[str, Any]) -> None:
    empty: dict[str, Any] = {
        "tools": [],
        "metadata": {},
        "include": [],
        "previous_response_id": None,
        "reasoning": {"effort": None},
    }
    got = await ask(bench, **empty, **body)
    assert got.status_code == 200, got.text


async def test_what_the_engine_refuses_is_told_in_this_routes_names(bench: Bench, engine: SayingEngine) -> None:
    engine.refusal = EngineRefused(
        400, "max_completion_tokens is not valid for this model", field="max_completion_tokens"
    )
    error = (await ask(bench)).json()["error"]
    assert (error["param"], error["message"]) == ("max_output_tokens", "max_output_tokens is not valid for this model")


async def test_binding_scopes_and_rates_are_the_chats(bench: Bench, engine: SayingEngine) -> None:
    assert (await ask(bench, bearer(PLAIN))).headers["X-Sano-Adapter"] == "base"
    assert (await ask(bench, model=EARLIER)).headers["X-Sano-Adapter"] == EARLIER
    foreign = await ask(bench, bearer(OTHER), model=ACTIVE)
    assert (foreign.status_code, code(foreign)) == (404, "model_not_found")
    assert (await ask(bench, bearer(PURGED))).status_code == 403
    assert (await ask(bench, {"Authorization": "Bearer x"})).status_code == 401
    search = {"Authorization": f"Bearer {await key(bench, 'embeddings', name='search')}"}
    assert code(await ask(bench, search)) == "insufficient_scope"
    chats = {"Authorization": f"Bearer {await key(bench, 'chat', name='chats')}"}
    assert (await ask(bench, chats)).headers["X-Sano-Adapter"] == ACTIVE
    assert [asked.adapter for asked in engine.asked] == [None, EARLIER, ACTIVE]
    assert all("cache_salt" in asked.fields for asked in engine.asked)


@pytest.mark.parametrize("asked", [{"top_k": 1}, {}])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_from_documents_cites_them(bench: Bench, stream: bool, asked: dict[str, int]) -> None:
    told = Told(bench)
    await told.say("d1", 3, "Apixaban dose is 5 mg.")
    got = await ask(bench, input="Which dose of apixaban?", retrieval=asked, stream=stream)
    answer = of_stream(got)[-1]["response"] if stream else got.json()
    assert cited(answer) == [("d1", 3, "Apixaban dose is 5 mg.")]
    assert told.prompt().endswith("Which dose of apixaban?")
