"""What applications use, against the routes on a port, the real engine and the real embedder behind them: openai-python
here, and the programs of deploy/examples/clients, each with its own client.

One engine for the module. Answers are those of a small model, so only their shape is asserted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel
from starlette.datastructures import State

from deploy.local.settings import LocalSettings
from inference.api.embeddings import Embeddings
from inference.engine.config import EngineConfig, serving_arguments
from inference.engine.engine import Engine
from inference.engine.grammars import Grammars
from inference.tenants.admission import TenantRequests
from tenancy.embedding.opening import open_embedder
from tenancy.embedding.port import Embedder
from tenancy.embedding.settings import EmbedderSettings
from tests.fixtures.client_programs import Ran, installed, new_key, ran
from tests.fixtures.served import served_here
from tests.unit.api.replica import OTHER, PLAIN, TENANT_REQUESTS, Bench, bearer

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(2400)]

Client = openai.AsyncOpenAI
ASKED: Any = [{"role": "user", "content": "How much of it may be given?"}]
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["mg", "ml"]}, "count": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["unit", "count"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "dose", "description": "The dose.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]


class Dose(BaseModel):
    unit: Literal["mg", "ml"]
    count: Literal[1, 2, 3]


PROGRAMS = (
    "with_langchain.py",
    "with_langchain.py responses",
    "with_litellm.py",
    "with_llama_index.py",
    "with_ai_sdk.mjs",
    "with_ai_sdk.mjs responses",
)
REFUSALS = {"unauthorized": 401, "not found": 404, "refused": 400}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(whole_base: Path) -> AsyncIterator[tuple[Engine, Grammars]]:
    config = EngineConfig(
        base_model=whole_base,
        max_loras=1,
        max_cpu_loras=1,
        max_lora_rank=8,
        max_num_seqs=4,
        max_model_len=512,
        kv_cache_gib=0.25,
    )
    engine = Engine(config)
    grammars = Grammars.of(whole_base)
    grammars.start()
    await engine.start()
    yield engine, grammars
    await grammars.close()
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[Embedder]:
    async with open_embedder(EmbedderSettings(), Path()) as embedder:
        assert embedder is not None
        yield embedder


async def answering_bench(engine: tuple[Engine, Grammars], embedder: Embedder) -> Bench:
    """A replica of its own, with the module's engine and embedder."""
    bench = Bench()
    await bench.start()
    bench.answering(*engine, bench.placement)

    async def opened() -> Embedder | None:
        return embedder

    bench.api.embeddings = Embeddings(opened, bench.views, bench.meter, bench.turns)
    return bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(engine: tuple[Engine, Grammars], embedder: Embedder) -> AsyncIterator[Bench]:
    yield await answering_bench(engine, embedder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with served_here(bench.app) as address:
        key = await new_key(bench, "chat", "embeddings")
        async with Client(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=300) as made:
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programs(
    engine: tuple[Engine, Grammars], embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ran]:
    """All of them at once, each with a replica of its own: they wait as long as Retry-After tells them."""
    clients = await asyncio.to_thread(installed, LocalSettings().cache_dir)
    folder = tmp_path_factory.mktemp("programs")
    benches = [await answering_bench(engine, embedder) for _ in PROGRAMS]
    running = (ran(name, clients, bench, folder / name) for name, bench in zip(PROGRAMS, benches, strict=True))
    return dict(zip(PROGRAMS, await asyncio.gather(*running), strict=True))


async def ask(client: Client, **fields: Any) -> Any:
    given = {"model": "base", "messages": ASKED, "temperature": 0, "max_tokens": 16, **fields}
    return await cast(Any, client.chat.completions.create)(**given)


async def test_a_chat_a_completion_and_the_models(client: Client) -> None:
    answer = await ask(client, store=False, metadata={"app": "ward"}, service_tier="auto", tools=[], stop=None)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 5
    assert 0 < answer.usage.completion_tokens <= 16
    completion = await client.completions.create(model="base", prompt="The dose is", max_tokens=4)
    assert completion.choices[0].text
    assert [model.id async for model in client.models.list()]


async def test_a_stream_says_what_a_whole_answer_says_and_its_usage(client: Client) -> None:
    whole = await ask(client)
    texts, usage = [], None
    async for event in await ask(client, stream=True, stream_options={"include_usage": True}):
        texts += [choice.delta.content or "" for choice in event.choices]
        usage = event.usage or usage
    assert "".join(texts) == whole.choices[0].message.content
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens


async def test_a_tool_is_called_with_arguments_of_its_schema_and_its_result_can_be_sent_back(client: Client) -> None:
    answer = await ask(client, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=64)
    message = answer.choices[0].message
    [call] = message.tool_calls
    if call.function.name == "dose":
        Dose.model_validate_json(call.function.arguments)
    else:
        assert (call.function.name, json.loads(call.function.arguments)) == ("now", {})
    result = {"role": "tool", "tool_call_id": call.id, "content": "5 mg"}
    again = await ask(client, messages=[*ASKED, message.model_dump(), result], tools=TOOLS, tool_choice="none")
    assert again.choices[0].message.tool_calls is None


async def test_a_streamed_call_of_a_tool_has_its_name_and_arguments(client: Client) -> None:
    name, arguments = "", ""
    choice = {"type": "function", "function": {"name": "dose"}}
    async for event in await ask(client, tools=TOOLS, tool_choice=choice, max_tokens=64, stream=True):
        for call in event.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "dose"
    Dose.model_validate_json(arguments)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_the_model_writes_by_itself_is_read_out_of_its_text(client: Client, stream: bool) -> None:
    """So small a model begins none by itself: it is made to."""
    call = r'<tool_call>\n\{"name": "now", "arguments": \{\}\}\n</tool_call>'
    fields = {"tools": TOOLS, "tool_choice": "auto", "max_tokens": 64, "stream": stream}
    answer = await ask(client, **fields, extra_body={"structured_outputs": {"regex": call}})
    if stream:
        events = [event.choices[0] async for event in answer if event.choices]
        assert not any(event.delta.content for event in events)
        parts = [part.function for event in events for part in event.delta.tool_calls or []]
        name = "".join(part.name or "" for part in parts)
        arguments = "".join(part.arguments or "" for part in parts)
        assert events[-1].finish_reason == "tool_calls"
    else:
        [made] = answer.choices[0].message.tool_calls
        name, arguments = made.function.name, made.function.arguments
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (None, "tool_calls")
    assert (name, json.loads(arguments)) == ("now", {})


async def test_an_answer_has_the_shape_of_a_schema_or_of_any_object(client: Client) -> None:
    parsed = await client.chat.completions.parse(
        model="base", messages=ASKED, response_format=Dose, max_tokens=64, temperature=0
    )
    assert isinstance(parsed.choices[0].message.parsed, Dose)
    chosen = await ask(client, extra_body={"structured_outputs": {"choice": ["yes", "no"]}})
    assert chosen.choices[0].message.content in ("yes", "no")
    matched = await ask(client, extra_body={"structured_outputs": {"regex": "[0-9]{3}-[a-c]{2}"}})
    assert len(matched.choices[0].message.content) == 6


async def test_a_grammar_that_takes_too_much_is_refused_and_the_engine_answers_others(client: Client) -> None:
    """By another tenant: for half a minute its new grammars are refused."""
    client = client.copy(api_key=bearer(OTHER)["Authorization"].removeprefix("Bearer "))
    choice = {"structured_outputs": {"choice": ["yes", "no"]}}
    await ask(client, extra_body=choice)
    # Seconds of a core for each of them, also of a quick one.
    hard = {"type": "object", "properties": {f"p{i}": {"type": "string", "maxLength": 10**7 + i} for i in range(50)}}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": hard}}
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, response_format=schema)
    assert refused.value.param == "response_format"
    with pytest.raises(openai.RateLimitError):
        await ask(
            client, response_format={**schema, "json_schema": {"name": "n", "schema": {**hard, "minProperties": 1}}}
        )
    assert (await ask(client)).choices[0].message.content
    chosen = await ask(client, extra_body=choice)
    assert chosen.choices[0].message.content in ("yes", "no"), "it was known"


@pytest_asyncio.fixture(loop_scope="module")
async def reasoning(engine: tuple[Engine, Grammars], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is asked so that an answer holds reasoning. So small a model writes none by itself: a pattern makes it.

    The engine answers through vLLM's serving classes as the setting makes them for a model whose reasoning is marked by
    text. Its scheduler is not told of the parser: with it no pattern holds before the reasoning ends, as
    test_schemas_behind_reasoning.py shows.
    """
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    running, _ = engine
    serving, arguments = State(), serving_arguments(replace(running._config, reasoning_parser="olmo3"))
    await init_app_state(running._llm, serving, arguments, await running._llm.get_supported_tasks())
    monkeypatch.setattr(running, "_serving", serving)
    pattern = "<think>I recall [a-z ]{8,24}\\.</think>It is [1-9] mg"
    return {"max_tokens": 64, "logprobs": True, "extra_body": {"structured_outputs": {"regex": pattern}}}


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_comes_in_its_own_field_and_counts_as_tokens_of_the_answer(
    client: Client, reasoning: dict[str, Any], stream: bool
) -> None:
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await ask(client, **reasoning, **(streamed if stream else {}))
    parts = [event async for event in answer] if stream else [answer]
    choices = [choice for part in parts for choice in part.choices]
    said = [(choice.delta if stream else choice.message).to_dict() for choice in choices]
    thought, content = ("".join(one.get(name) or "" for one in said) for name in ("reasoning", "content"))
    assert re.fullmatch(r"I recall [a-z ]{8,24}\.", thought)
    assert re.fullmatch(r"It is [1-9] mg", content)
    tokens = [one.token for choice in choices if choice.logprobs for one in choice.logprobs.content or []]
    assert f"<think>{thought}</think>{content}" in "".join(tokens)
    [usage] = [part.usage for part in parts if part.usage]
    assert usage.completion_tokens == len(tokens) > 10


async def test_embeddings_come_as_the_client_decodes_them(client: Client) -> None:
    answer = await client.embeddings.create(model="embedder", input=["a dose", "a car park"])
    plain = await client.embeddings.create(model="embedder", input=["a dose"], encoding_format="float")
    assert [len(row.embedding) for row in answer.data] == [384, 384]
    assert answer.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)
    assert answer.usage.prompt_tokens > 4


async def test_errors_are_those_that_the_client_knows(client: Client, bench: Bench) -> None:
    with pytest.raises(openai.AuthenticationError):
        await ask(client.with_options(api_key="sano_t2_" + "0" * 16 + "_" + "0" * 64))
    with pytest.raises(openai.NotFoundError):
        await ask(client, model="f" * 64)
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, temperature=7)
    assert (refused.value.param, refused.value.code) == ("temperature", "engine_refused")
    with ExitStack() as others:
        for _ in range(TENANT_REQUESTS):
            others.enter_context(bench.api.running.one_more(PLAIN))
        with pytest.raises(openai.RateLimitError):
            await ask(client)


async def test_a_client_that_tries_again_sees_nothing_of_a_replica_that_is_not_ready(
    client: Client, bench: Bench
) -> None:
    answers, bench.api.answers = bench.api.answers, None
    asked = asyncio.create_task(ask(client.with_options(max_retries=2)))
    await asyncio.sleep(0.5)
    bench.api.answers = answers
    assert (await asked).choices[0].message.content


async def test_a_client_that_tries_again_sees_nothing_of_a_limit_that_it_met(client: Client, bench: Bench) -> None:
    create = cast(Any, client.with_options(max_retries=5).chat.completions.with_raw_response.create)
    running, bench.api.running = bench.api.running, TenantRequests(0)
    asked = asyncio.create_task(create(model="base", messages=ASKED, max_tokens=16))
    await asyncio.sleep(0.5)
    bench.api.running = running
    answer = await asked
    assert answer.retries_taken > 0
    assert answer.parse().choices[0].message.content


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_program_with_another_client_is_answered_all_that_it_asks(
    program: str, programs: dict[str, Ran]
) -> None:
    said = programs[program].said()
    assert said["chat"]["text"]
    assert said["stream"]["text"], "another one, perhaps: in a batch with others the last bits of its numbers differ"
    assert said["stream"]["pieces"] > 1
    for did in ("chat", "stream"):
        usage = said[did]["usage"]
        assert usage["input_tokens"] > 5 and 0 < usage["output_tokens"] <= 24
    assert said["tools"]["name"] == "dose"
    Dose.model_validate(said["tools"]["arguments"], strict=True)
    assert said["result"]["text"] and said["result"]["calls"] == 0
    Dose.model_validate(said["schema"]["arguments"], strict=True)
    assert {did: said[did]["status"] for did in REFUSALS} == REFUSALS
    if "llama_index" not in program:
        assert said["vectors"]["lengths"] == [384, 384]


@pytest.mark.parametrize("program", PROGRAMS)
async def test_another_client_tries_again_by_itself_after_a_429_and_a_503(
    program: str, programs: dict[str, Ran]
) -> None:
    assert programs[program].said()["chat"]["text"]
    first, statuses = programs[program].statuses[:2], programs[program].statuses[2:]
    assert first == [429, 503]
    # On a machine that is busy a replica may refuse more in the same words, which the client tries again after too.
    assert [status for status in statuses if status not in first] == [
        *[200] * (5 if "llama_index" in program else 6),
        *REFUSALS.values(),
    ]
