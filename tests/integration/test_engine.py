"""The embedded engine on a real model: what keeps tenants apart, and what a purge leaves behind.

The adapters have random weights, so each answers differently from the others and from the base model. Everything is
computed in float32: which token is the likeliest then does not depend on what else is in the batch, and an answer
that differs from the one given alone was computed with wrong weights.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference.adapters.switching import Switching
from inference.api.answers import Answers, HeldStream
from inference.engine import request_fields
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    AdapterLoadFailed,
    AdapterNotLoaded,
    AdapterWithdrawn,
    EngineFull,
    EngineRefused,
)
from inference.engine.in_flight import EventStream
from inference.engine.stream_usage import Computed
from inference.tenants.binding import Salts
from inference.tenants.usage import UsageMeter
from schemas.objects.state import TenantState
from tenancy.tenant_id import TenantId
from tests.contract.adapter_engine import AdapterEngineContract, Subject
from tests.fixtures.answer_ids import any_id
from tests.fixtures.raw_bytes import files
from tests.fixtures.retrieval import retrieval
from tests.fixtures.turns import turns
from tests.fixtures.verified import verified

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

OWNER = "t1"
SALT = "5a17"
QUESTION = "What must be written on the label of a sample, and who may take it to the laboratory at night? " * 3
_request_ids = (f"request-{number}" for number in count())


@pytest.fixture(scope="module")
def adapters(shallow_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories by name: adapters ``a16-0``… of rank 16, ``a8-0``… of rank 8, and ``a32-0``, too large."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("adapters")
    found = {}
    for r, how_many in ((16, 4), (8, 3), (32, 1)):
        base = AutoModelForCausalLM.from_pretrained(shallow_base, dtype=torch.float32)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        config = LoraConfig(r=r, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(base, config)
        for number in range(how_many):
            generator = torch.Generator().manual_seed(100 * r + number)
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if "lora_" in name:
                        weight.normal_(std=0.06, generator=generator)
            model.save_pretrained(root / f"a{r}-{number}")
            found[f"a{r}-{number}"] = root / f"a{r}-{number}"
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of what torch compiles in the engine's processes."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(shallow_base: Path, compiled: Path) -> AsyncIterator[Engine]:
    config = EngineConfig(
        base_model=shallow_base,
        max_loras=3,
        max_cpu_loras=5,
        max_lora_rank=16,
        max_model_len=512,
        kv_cache_gib=0.5,
        block_size=32,
        dtype="float32",
        worker_extension="tests.integration.engine_probe.ProbingIsolation",
    )
    engine = Engine(config)
    await engine.start()
    yield engine
    await engine.close()
    assert not engine.is_healthy()


@pytest_asyncio.fixture(loop_scope="module")
async def engine(running: Engine) -> AsyncIterator[Engine]:
    """The engine, without adapters before and after the test, still alive and without any request after it."""
    yield running
    assert running.is_healthy()
    assert remembered(running) == []
    for digest in running.loaded():
        await running.abort_all(digest)
        await running.evict(digest, scrub=True)
    assert not await running._llm.list_loras()


def chat_body(question: str = QUESTION, tokens: int = 16, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": question}
    return {"messages": [message], "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **fields}


async def chat(
    engine: Engine, adapter: str | None, *, salt: str = SALT, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    response = await engine.chat(
        chat_body() if body is None else body,
        adapter=adapter,
        owner=OWNER,
        cache_salt=salt,
        request_id=next(_request_ids),
    )
    assert isinstance(response, dict)
    return response


async def completion(engine: Engine, adapter: str | None, body: dict[str, Any]) -> dict[str, Any]:
    response = await engine.completion(
        body, adapter=adapter, owner=OWNER, cache_salt=SALT, request_id=next(_request_ids)
    )
    assert isinstance(response, dict)
    return response


async def answer(engine: Engine, adapter: str | None, tokens: int = 16) -> str:
    response = await chat(engine, adapter, body=chat_body(tokens=tokens))
    text = response["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


async def stream_of(engine: Engine, adapter: str | None, tokens: int, owner: str = OWNER) -> EventStream:
    body = chat_body(tokens=tokens, stream=True)
    stream = await engine.chat(body, adapter=adapter, owner=owner, cache_salt=SALT, request_id=next(_request_ids))
    assert isinstance(stream, EventStream)
    return stream


async def text_of(stream: EventStream) -> str:
    """What is left of a chat's stream."""
    chunks = [json.loads(event.removeprefix(b"data: ")) async for event in stream if event != b"data: [DONE]\n\n"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def until_all_are_in_the_engine(engine: Engine, adapter: str) -> None:
    """Until vLLM knows each sequence of the adapter's requests."""
    flights = [flight for flight in engine._flights._running.values() if flight.adapter == adapter]
    asked = {engine_id for flight in flights for engine_id in flight.engine_ids}
    while not asked <= set(engine._llm.output_processor.external_req_ids):
        await asyncio.sleep(0.01)


def remembered(engine: Engine) -> list[str]:
    """The requests that vLLM's front end holds in this process, with their prompts."""
    processor = engine._llm.output_processor
    return [*processor.request_states, *processor.external_req_ids, *processor.parent_requests]


def cached_tokens(response: dict[str, Any]) -> int:
    return int(response["usage"]["prompt_tokens_details"]["cached_tokens"])


async def slots(engine: Engine) -> list[tuple[int | None, bool]]:
    (worker,) = await engine._llm.collective_rpc("probe_slots")
    return [tuple(slot) for slot in worker]


async def load(engine: Engine, adapters: dict[str, Path], *names: str) -> None:
    for name in names:
        await engine.load(name, adapters[name], verified)


@pytest_asyncio.fixture(loop_scope="module")
async def subject(engine: Engine, adapters: dict[str, Path]) -> Subject:
    async def begin(adapter: str, owner: str) -> None:
        await anext(await stream_of(engine, adapter, tokens=300, owner=owner))

    loadable = {name: directory for name, directory in adapters.items() if not name.startswith("a32")}
    return Subject(engine, engine._config.max_cpu_loras, loadable, begin)


class TestVllm(AdapterEngineContract):
    """The suite of every engine."""


async def test_adapters_answer_as_they_do_alone_while_others_are_loaded_and_evicted(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    """Regression of vLLM 47724: as many adapters decode as there are slots, so each load takes a slot away from one
    that is decoding, in the middle of its answer."""
    names: list[str | None] = [None, "a16-0", "a16-1", "a8-0"]
    await load(engine, adapters, "a16-0", "a16-1", "a8-0")
    alone = [await answer(engine, name, tokens=40) for name in names]
    assert len(set(alone)) == len(names)

    changes = 0
    while changes < 8:  # how many happen during one round of answers depends on the machine
        decoding = asyncio.gather(*(answer(engine, name, tokens=40) for name in names))
        while not decoding.done():
            for name in ("a16-2", "a8-1"):
                await engine.load(name, adapters[name], verified)
                await engine.evict(name, scrub=changes % 4 == 3)
                changes += 1
        assert await decoding == alone


async def test_a_purge_leaves_no_weights_in_the_slot_or_in_the_loaded_copy_and_disturbs_nobody(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0", "a16-1")
    alone = await answer(engine, "a16-1", tokens=96)
    assert await answer(engine, "a16-0") != await answer(engine, None)
    lora_id = engine._loaded_adapters()._ids["a16-0"]
    assert (lora_id, True) in await slots(engine)
    assert await engine._llm.collective_rpc("probe_keep_copy", args=(lora_id,)) == [True]

    other = await stream_of(engine, "a16-1", tokens=96)
    await anext(other)  # its role, with which it has begun
    assert engine.inflight("a16-1") == 1
    eviction = await engine.evict("a16-0", scrub=True)
    assert await text_of(other) == alone

    assert (eviction.was_loaded, eviction.slot_overwritten, eviction.remaining) == (True, True, ("a16-1",))
    assert await engine._llm.collective_rpc("probe_kept_copy_has_values") == [False]
    assert sorted(await slots(engine), key=str) == sorted(
        [(engine._loaded_adapters()._ids["a16-1"], True), (None, False), (None, False)], key=str
    )
    with pytest.raises(AdapterNotLoaded):
        await chat(engine, "a16-0")


async def test_an_eviction_that_only_makes_room_is_scrubbed_by_a_later_purge(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a8-0")
    made_room = await engine.evict("a8-0", scrub=False)
    assert (made_room.was_loaded, made_room.slot_overwritten, made_room.prefix_cache_reset) == (True, False, False)
    assert any(has_values for _, has_values in await slots(engine))
    purged = await engine.evict("a8-0", scrub=True)
    assert (purged.was_loaded, purged.slot_overwritten) == (False, True)
    assert not any(has_values for _, has_values in await slots(engine))


async def test_the_prefix_cache_is_reset_when_nothing_runs_and_the_report_says_so_when_something_does(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a8-0", "a8-1")
    alone = await answer(engine, "a8-1", tokens=64)
    other = await stream_of(engine, "a8-1", tokens=64)
    await anext(other)
    assert engine.inflight("a8-1") == 1
    busy = await engine._llm.reset_prefix_cache()
    assert not busy
    assert await text_of(other) == alone
    eviction = await engine.evict("a8-0", scrub=True)
    assert eviction.prefix_cache_reset
    assert cached_tokens(await chat(engine, "a8-1")) == 0


async def test_prompts_and_answers_are_not_handed_on_through_shared_memory(engine: Engine) -> None:
    """vLLM's own executor on a processor hands token ids to a worker through files there, and leaves them."""
    await chat(engine, None, body=chat_body("Say it again.", tokens=1))
    mapped = [region.path for process in engine._processes for region in process.memory_maps()]
    assert any(path.endswith(".so") for path in mapped), "or nothing can be read"
    assert [path for path in mapped if Path(path).name.startswith("psm_")] == []


async def test_cached_prefixes_are_shared_within_an_adapter_and_salt_and_nowhere_else(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    await load(engine, adapters, "a16-0")
    shutil.copytree(adapters["a16-0"], tmp_path / "same-bytes-new-digest")
    await engine.load("same-bytes-new-digest", tmp_path / "same-bytes-new-digest", verified)
    assert await engine.reset_prefix_cache()

    assert cached_tokens(await chat(engine, "a16-0")) == 0
    assert cached_tokens(await chat(engine, "a16-0")) > 0
    assert cached_tokens(await chat(engine, "a16-0", salt="0123")) == 0
    assert cached_tokens(await chat(engine, "same-bytes-new-digest")) == 0
    assert cached_tokens(await chat(engine, None)) == 0


async def test_what_the_caller_says_about_model_salt_and_priority_has_no_effect(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0", "a16-1")
    assert await engine.reset_prefix_cache()
    expected = await answer(engine, "a16-0")
    theirs = await chat(engine, "a16-1", salt="beef")

    body = chat_body(model="a16-1", cache_salt="beef", priority=-5)
    response = await chat(engine, "a16-0", body=body)
    assert response["model"] == "a16-0"
    assert response["choices"][0]["message"]["content"] == expected
    assert cached_tokens(response) > 0, "the server's salt was used"
    assert theirs["choices"][0]["message"]["content"] != expected
    base = await chat(engine, None, body=body)
    assert base["model"] == "base"
    assert cached_tokens(base) == 0


async def test_a_content_part_named_like_an_adapter_does_not_select_it(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0")
    for kind in ("a16-0", "a16-0_url"):
        body = chat_body()
        body["messages"][0]["content"] = [{"type": kind, "text": QUESTION}]
        with pytest.raises(EngineRefused, match="must be a string"):
            await chat(engine, None, body=body)


async def test_a_streamed_answer_is_the_same_as_a_whole_one_and_names_its_adapter(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0")
    events = [event async for event in await stream_of(engine, "a16-0", tokens=16)]
    assert events[-1] == b"data: [DONE]\n\n"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    assert {chunk["model"] for chunk in chunks} == {"a16-0"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == await answer(
        engine, "a16-0"
    )
    assert len(chunks) > 2, "a late reader gets several tokens in one"
    assert engine.inflight("a16-0") == 0


async def test_the_usage_of_a_stream_is_that_of_a_whole_answer_and_no_event_says_it_unasked(engine: Engine) -> None:
    body = {"prompt": ["The liver", "The heart of it"], "max_tokens": 5, "n": 2, "temperature": 1, "ignore_eos": True}
    whole = await engine.completion(body, adapter=None, owner=OWNER, cache_salt=SALT, request_id=next(_request_ids))
    assert isinstance(whole, dict)
    stream = await engine.completion(
        {**body, "stream": True}, adapter=None, owner=OWNER, cache_salt=SALT, request_id=next(_request_ids)
    )
    assert isinstance(stream, EventStream)
    events = [event async for event in stream]
    assert len(events) > 4, "at least one for each answer, and the end: a late reader gets several tokens in one"
    assert not any(b'"usage"' in event for event in events)
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (
        whole["usage"]["prompt_tokens"],
        whole["usage"]["completion_tokens"],
    )


@pytest.mark.parametrize("kind", ["chat", "completion"])
async def test_a_tenants_context_may_be_smaller_than_the_engines(engine: Engine, kind: str) -> None:
    ask = engine.chat if kind == "chat" else engine.completion

    async def asked(context_tokens: int, **fields: Any) -> Any:
        body = chat_body(**fields) if kind == "chat" else {"prompt": QUESTION, "ignore_eos": True, **fields}
        owned = {"adapter": None, "owner": OWNER, "cache_salt": SALT, "request_id": next(_request_ids)}
        return await ask(body, **owned, context_tokens=context_tokens)  # type: ignore[arg-type]

    first = await asked(512, max_tokens=1)
    prompt = first["usage"]["prompt_tokens"]
    assert (await asked(prompt + 4, max_tokens=4))["usage"]["completion_tokens"] == 4
    for fields in ({"max_tokens": 5}, {"max_tokens": 5, "stream": True}):
        with pytest.raises(EngineRefused) as refused:
            await asked(prompt + 4, **fields)
        assert (refused.value.status, refused.value.field) == (400, "max_tokens")
        assert f"{prompt + 4} tokens" in refused.value.message
    with pytest.raises(EngineRefused):
        await asked(prompt, max_tokens=1)
    if kind == "chat":
        assert (await asked(prompt + 7, max_tokens=None))["usage"]["completion_tokens"] == 7, "it ends there"


@pytest.mark.parametrize("kind", ["chat", "completion"])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_caller_who_hangs_up_is_charged_for_what_it_was_given(engine: Engine, kind: Any, n: int) -> None:
    class Views:
        async def spending(self, tenant: TenantId) -> TenantState:
            return TenantState(tenant=tenant, nonce="n")

        async def adapter(self, tenant: TenantId, model: object, conversation: object) -> None:
            return None

        def require_admitted(self, tenant: TenantId) -> None:
            return None

    unused: Any = None
    views: Any = Views()
    meter = UsageMeter()
    answers = Answers(
        engine, unused, views, unused, Switching(unused), unused, meter, Salts(), turns(), retrieval(unused), any_id
    )
    body = chat_body(tokens=200, stream=True, n=n, temperature=1)
    body = body if kind == "chat" else {**body, "prompt": QUESTION, "messages": None}
    stream = (await answers.answer(TenantId(OWNER), kind, body)).body
    assert isinstance(stream, HeldStream)
    texts = 0
    async for event in stream:
        (choice,) = json.loads(event.removeprefix(b"data: "))["choices"]
        texts += bool(choice["text"] if kind == "completion" else choice["delta"]["content"])
        if texts == 10:
            break
    await stream.aclose()
    (charged,) = meter.take().values()
    assert 10 <= charged.completion_tokens < 200 * n
    assert charged.prompt_tokens > 10


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_request_that_fails_on_its_way_into_the_engine_is_not_kept(
    engine: Engine, n: int, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM has registered it by then, with its prompt, and takes it back only where n is above 1."""

    async def add(request: Any) -> None:
        assert request.request_id in engine._llm.output_processor.request_states
        raise OverflowError("int out of range")

    monkeypatch.setattr(engine._llm.engine_core, "add_request_async", add)
    bodies = {"chat": chat_body(), "completion": {"prompt": ["one", "two"], "max_tokens": 4}}
    for kind, body in bodies.items():
        with pytest.raises(EngineRefused) as refused:
            await getattr(engine, kind)(
                {**body, "n": n, "stream": stream, "temperature": 1},
                adapter=None,
                owner=OWNER,
                cache_salt=SALT,
                request_id=next(_request_ids),
            )
        assert refused.value.status == 500
        assert remembered(engine) == []
    assert engine.inflight_of(OWNER) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 2**64},
        {"top_k": "9" * 40},
        {"stop": "\ud800"},
        {"stop_token_ids": list(range(129)), "min_tokens": 1},
        {"logit_bias": {str(token): 1 for token in range(1025)}},
        {"stop_token_ids": [2**31 - 1]},
        {"logit_bias": {str(2**31 - 1): 1}},
    ],
)
async def test_what_cannot_reach_the_engine_is_refused_by_its_field_and_not_kept(
    engine: Engine, fields: dict[str, Any]
) -> None:
    for stream in (False, True):
        with pytest.raises(EngineRefused) as refused:
            await chat(engine, None, body=chat_body(stream=stream, **fields))
        assert (refused.value.status, refused.value.field) == (400, next(iter(fields)))
        assert remembered(engine) == []


async def test_a_base_request_is_not_touched_by_the_adapters_in_its_batch(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    """Regression of vLLM pull request 48421: with every slot taken, the base model's tokens got the last slot's."""
    alone = await answer(engine, None, tokens=32)
    await load(engine, adapters, "a16-0", "a16-1", "a8-0")
    assert all(held_by for held_by, _ in await slots(engine))
    base, *_ = await asyncio.gather(*(answer(engine, name, tokens=32) for name in (None, "a16-0", "a16-1", "a8-0")))
    assert base == alone


async def test_completions_answer_several_prompts(engine: Engine, adapters: dict[str, Path]) -> None:
    await load(engine, adapters, "a16-0")
    body = {"prompt": ["The liver", "The heart"], "max_tokens": 4, "n": 2}
    response = await engine.completion(
        body, adapter="a16-0", owner=OWNER, cache_salt=SALT, request_id=next(_request_ids)
    )
    assert isinstance(response, dict)
    assert (response["model"], len(response["choices"])) == ("a16-0", 4)


async def test_no_request_waits_for_a_compiler(engine: Engine, compiled: Path) -> None:
    response = await completion(engine, None, {"prompt": "The liver", "max_tokens": 2, "logprobs": 2})
    assert len(response["choices"][0]["logprobs"]["top_logprobs"]) == 2
    assert not list(files(compiled))


ECHOES: list[dict[str, Any]] = [
    {"prompt": ["hello there my friend", "x y z w"]},
    {"prompt": "hello there my friend", "n": 2},
    {"prompt": "hello there my friend"},
]
"""Each ended the engine, the last one beside another tenant's request by its adapter."""


@pytest.mark.parametrize("logprobs", [0, 1])
@pytest.mark.parametrize("fields", ECHOES)
async def test_an_echo_with_logprobs_is_refused_beside_another_tenants_answer_and_the_engine_lives(
    engine: Engine, adapters: dict[str, Path], fields: dict[str, Any], logprobs: int
) -> None:
    await load(engine, adapters, "a16-0", "a16-1")
    alone = await answer(engine, "a16-1", tokens=32)
    other = asyncio.create_task(answer(engine, "a16-1", tokens=32))
    await until_all_are_in_the_engine(engine, "a16-1")
    body = {**fields, "max_tokens": 2, "echo": True, "logprobs": logprobs}
    with pytest.raises(EngineRefused) as refused:
        await completion(engine, "a16-0", body)
    assert (refused.value.status, refused.value.field) == (400, "logprobs")
    assert await other == alone


async def test_logits_of_prompts_are_right_for_each_tenant_if_vllm_is_ever_made_to_compute_them(
    engine: Engine, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the refusal keeps out, let in: two sequences, several choices, and two tenants at once."""
    monkeypatch.setattr(request_fields, "_check_together", lambda *_, **__: None)
    await load(engine, adapters, "a16-0", "a8-0")

    async def scored(adapter: str | None, fields: dict[str, Any]) -> list[float]:
        body = {**fields, "max_tokens": 1, "temperature": 1, "seed": 7, "echo": True, "logprobs": 0}
        choices = (await completion(engine, adapter, body))["choices"]
        return [each for choice in choices for each in choice["logprobs"]["token_logprobs"][1:-1]]

    asked = [(name, fields) for name in ("a16-0", None, "a8-0") for fields in ECHOES]
    alone = [await scored(*each) for each in asked]
    by_adapter = [alone[position] for position in (0, 3, 6)]
    assert all(one != pytest.approx(other, abs=0.1) for one, other in itertools.combinations(by_adapter, 2))
    together = await asyncio.gather(*(scored(*each) for each in asked))
    assert [pytest.approx(each, abs=0.01) for each in alone] == together


async def test_an_owners_requests_end_by_the_base_model_too_and_other_owners_answers_are_whole(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0")
    alone = await answer(engine, None, tokens=32)
    purged = [await stream_of(engine, adapter, tokens=300, owner="t2") for adapter in (None, "a16-0")]
    other = asyncio.create_task(answer(engine, None, tokens=32))
    for stream in purged:
        await anext(stream)
    assert engine.inflight_of("t2") == 2
    assert await engine.abort_all_of("t2") == 2
    assert engine.inflight_of("t2") == 0
    for stream in purged:
        events = [event async for event in stream]
        assert any(b"withdrawn" in event for event in events)
    assert await other == alone
    assert await answer(engine, "a16-0"), "the adapter itself is there for its other requests"


async def test_aborting_an_adapter_ends_its_requests_and_no_others(engine: Engine, adapters: dict[str, Path]) -> None:
    await load(engine, adapters, "a16-0", "a16-1")
    alone = await answer(engine, "a16-1", tokens=32)
    stream = await stream_of(engine, "a16-0", tokens=300)
    whole = asyncio.create_task(answer(engine, "a16-0", tokens=300))
    many = engine.completion(
        {"prompt": ["one", "two"], "max_tokens": 300, "ignore_eos": True},
        adapter="a16-0",
        owner=OWNER,
        cache_salt=SALT,
        request_id=next(_request_ids),
    )
    several = asyncio.create_task(many)
    others = asyncio.gather(answer(engine, "a16-1", tokens=32), answer(engine, None))
    await anext(stream)
    await asyncio.sleep(0)  # all are admitted
    assert engine.inflight("a16-0") == 3
    await until_all_are_in_the_engine(engine, "a16-0")

    assert await engine.abort_all("a16-0") == 3
    assert engine.inflight("a16-0") == 0
    eviction = await engine.evict("a16-0", scrub=True)
    assert eviction.slot_overwritten

    for task in (whole, several):
        with pytest.raises(AdapterWithdrawn):
            await task
    rest = [event async for event in stream]
    assert rest[-1] == b"data: [DONE]\n\n"
    assert json.loads(rest[-2].removeprefix(b"data: "))["error"]["code"] == 503
    assert (await others)[0] == alone


async def test_an_adapters_files_can_be_deleted_after_its_eviction(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    await load(engine, adapters, "a16-1")
    directory = tmp_path / "gone"
    shutil.copytree(adapters["a16-0"], directory)
    await engine.load("gone", directory, verified)
    stream = await stream_of(engine, "gone", tokens=300)
    await anext(stream)
    await engine.abort_all("gone")
    await engine.evict("gone", scrub=True)
    shutil.rmtree(directory)
    assert await answer(engine, "a16-1")


async def test_a_caller_that_goes_away_does_not_keep_the_adapter_in_use(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await load(engine, adapters, "a16-0")
    whole = asyncio.create_task(answer(engine, "a16-0", tokens=300))
    stream = await stream_of(engine, "a16-0", tokens=300)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    await anext(stream)
    await stream.aclose()
    assert engine.inflight("a16-0") == 0
    assert not engine._llm.output_processor.has_unfinished_requests()
    assert [event async for event in stream] == []


async def test_what_is_computed_for_a_whole_answer_is_told_before_its_caller_leaves(engine: Engine) -> None:
    usage = Computed()
    asked = engine.chat(
        chat_body(tokens=300), adapter=None, owner=OWNER, cache_salt=SALT, request_id=next(_request_ids), usage=usage
    )
    whole = asyncio.create_task(asked)
    while usage.completion_tokens < 3:
        await asyncio.sleep(0.01)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens < 300


async def test_an_adapter_is_loaded_once_and_a_later_load_gets_a_new_id(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    await asyncio.gather(*(engine.load("a8-0", adapters["a8-0"], verified) for _ in range(3)))
    first = engine._loaded_adapters()._ids["a8-0"]
    assert list(await engine._llm.list_loras()) == [first]
    before = await answer(engine, "a8-0")
    await engine.evict("a8-0", scrub=True)
    await engine.load("a8-0", adapters["a8-0"], verified)
    assert engine._loaded_adapters()._ids["a8-0"] > first
    assert await answer(engine, "a8-0") == before


async def test_files_that_vllm_cannot_load_leave_nothing_behind_and_the_engine_alive(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    await load(engine, adapters, "a16-0")
    before = await answer(engine, "a16-0")
    for name in ("garbage", "no-weights", "wrong-shape"):
        shutil.copytree(adapters["a16-0"], tmp_path / name)
    (tmp_path / "garbage/adapter_model.safetensors").write_bytes(b"\0" * 64)
    (tmp_path / "no-weights/adapter_model.safetensors").rename(tmp_path / "no-weights/adapter_model.bin")
    shutil.copy(adapters["a32-0"] / "adapter_model.safetensors", tmp_path / "wrong-shape")
    bad = [tmp_path / "garbage", tmp_path / "no-weights", tmp_path / "wrong-shape", adapters["a32-0"], tmp_path / "x"]
    for directory in bad:
        with pytest.raises(AdapterLoadFailed):
            await engine.load(f"bad-{directory.name}", directory, verified)
        assert engine.loaded() == ("a16-0",)
        assert len(await engine._llm.list_loras()) == 1
    assert [has_values for _, has_values in sorted(await slots(engine), key=lambda slot: slot[0] or 0)][:2] == [
        False,
        False,
    ]
    assert await answer(engine, "a16-0") == before


async def test_more_adapters_than_slots_take_turns_and_more_than_the_engine_holds_are_refused(
    engine: Engine, adapters: dict[str, Path]
) -> None:
    alone = {}
    for name in ("a16-0", "a16-1", "a16-2", "a16-3", "a8-0"):
        await engine.load(name, adapters[name], verified)
        alone[name] = await answer(engine, name)
        await engine.evict(name, scrub=True)
    assert len(set(alone.values())) == 5

    await load(engine, adapters, *alone)
    with pytest.raises(EngineFull):
        await engine.load("a8-1", adapters["a8-1"], verified)
    together = await asyncio.gather(*(answer(engine, name) for name in alone))
    assert together == list(alone.values())


async def test_a_refusal_names_the_field_and_never_the_text(engine: Engine) -> None:
    too_long = chat_body("a secret word " * 400)
    for stream in (False, True):
        with pytest.raises(EngineRefused, match="does not fit the context of 512 tokens") as refused:
            await chat(engine, None, body={**too_long, "stream": stream})
        assert (refused.value.status, "secret" in str(refused.value)) == (400, False)
        assert refused.value.__cause__ is None
    bad: dict[str, Any] = {"temperature": "a secret word", "logit_bias": {"a secret word": 1}, "top_p": 7}
    for field, value in bad.items():
        with pytest.raises(EngineRefused) as refused:
            await chat(engine, None, body=chat_body(**{field: value}))
        assert (refused.value.status, refused.value.field, "secret" in str(refused.value)) == (400, field, False)


async def test_two_running_requests_cannot_share_an_id(engine: Engine) -> None:
    first = asyncio.create_task(engine.chat(chat_body(), adapter=None, owner=OWNER, cache_salt=SALT, request_id="same"))
    await asyncio.sleep(0)
    with pytest.raises(EngineRefused) as refused:
        await engine.chat(chat_body(), adapter=None, owner=OWNER, cache_salt=SALT, request_id="same")
    assert refused.value.status == 409
    assert isinstance(await first, dict)
