"""What a caller may send, and what it cannot set."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from inference.api import routes
from inference.api.routes import MAX_BODY_BYTES
from inference.engine.field_checks import MAX_CHOICES
from inference.engine.message_fields import MAX_MESSAGES
from inference.errors import RequestRefused
from inference.tenants.binding import Salts
from tests.unit.api.replica import (
    ACTIVE,
    BODIES,
    CHAT,
    COMPLETIONS,
    EARLIER,
    OTHER,
    PLAIN,
    TENANT,
    TENANT_REQUESTS,
    Bench,
    bearer,
    code,
)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b"1" * 5000, b'{"a":1}{"a":1}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(bench: Bench, body: bytes, path: str) -> None:
    response = await bench.raw(body, path)
    assert (response.status_code, code(response)) == (400, "invalid_request")
    assert bench.engine.asked == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("depth", [1, 100, 800])
async def test_a_value_is_refused_however_deep_it_is(bench: Bench, path: str, depth: int) -> None:
    for field in ("messages", "prompt", "model", "logit_bias", "stop", "stream_options", "user", "stop_token_ids", "n"):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            deep = opened * depth + b"1" + closed * depth
            body = json.dumps(BODIES[path]).encode().removesuffix(b"}") + b',"%s":%s}' % (field.encode(), deep)
            response = await bench.raw(body, path)
            if response.status_code != 200:  # a prompt of one token id, say, or a field that is dropped
                assert response.status_code in (400, 404), (field, response.text)


async def test_messages_have_a_bound_that_is_looked_at_before_any_of_them(bench: Bench) -> None:
    message = {"role": "user", "content": ""}
    assert (await bench.post(CHAT, messages=[message] * MAX_MESSAGES)).status_code == 200
    for messages in ([message] * 30_000, [message] * (MAX_MESSAGES + 1), [None] * (MAX_MESSAGES + 1)):
        response = await bench.post(CHAT, messages=messages)
        assert (response.status_code, code(response)) == (400, "engine_refused")
        assert response.json()["error"]["message"] == f"messages may have at most {MAX_MESSAGES} entries"
    assert len(bench.engine.asked) == 1


@pytest.mark.parametrize("one", ["a", [1], {"deep": []}])
async def test_prompts_have_a_bound_that_is_looked_at_before_any_of_them(bench: Bench, one: object) -> None:
    response = await bench.post(COMPLETIONS, prompt=[[1], *[one] * MAX_CHOICES])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")
    assert f"at most {MAX_CHOICES} entries" in response.json()["error"]["message"]


async def test_a_body_is_bounded_also_when_it_comes_in_pieces_without_a_length(bench: Bench) -> None:
    start = json.dumps(BODIES[CHAT]).encode()
    fits = start + b" " * (MAX_BODY_BYTES - len(start))
    assert (await bench.raw(fits)).status_code == 200
    response = await bench.raw(fits + b" ")
    assert (response.status_code, code(response)) == (413, "too_large")
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(32):
            taken += 65_536
            yield b" " * 65_536

    async with bench.client() as client:
        response = await client.post(CHAT, content=pieces(), headers=bearer(TENANT))
    assert (response.status_code, code(response)) == (413, "too_large")
    assert "Connection" not in response.headers
    assert taken == 32 * 65_536, "closed before, the connection is reset, and the answer is lost with it"


async def test_a_body_that_does_not_end_is_not_read_without_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_SECONDS", 0.01)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536
            await asyncio.sleep(0)

    async with bench.client() as client:
        response = await client.post(CHAT, content=endless(), headers=bearer(TENANT))
    assert (response.status_code, code(response)) == (408, "body_timeout")
    assert response.headers["Connection"] == "close", "or the server would read on"


async def test_what_is_too_long_is_not_kept(bench: Bench) -> None:
    kept: list[int] = []

    async def receive() -> dict[str, Any]:
        frame = sys._getframe()
        while frame.f_code is not routes._body.__code__:
            assert frame.f_back is not None
            frame = frame.f_back
        kept.append(len(frame.f_locals["received"]))
        return {"type": "http.request", "body": b" " * 65_536, "more_body": len(kept) < 64}

    with pytest.raises(RequestRefused, match="longer than"):
        await routes._body(Request({"type": "http"}, receive))
    assert max(kept) <= MAX_BODY_BYTES


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_body_that_does_not_come_is_not_waited_for_without_end(
    bench: Bench, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "BODY_SECONDS", 0.01)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with bench.client() as client:
        response = await client.post(path, content=dripping(), headers=bearer(TENANT))
    assert (response.status_code, code(response)) == (408, "body_timeout")
    assert response.headers["Connection"] == "close", "or the server would read on"
    assert bench.engine.asked == []
    assert bench.api.running._running == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_one_tenant_has_so_many_requests_at_once_and_the_others_are_none_the_worse(
    bench: Bench, stream: bool
) -> None:
    bench.engine.stalls = True
    running = [asyncio.create_task(bench.post(CHAT, stream=stream)) for _ in range(TENANT_REQUESTS)]
    while len(bench.engine.asked) < TENANT_REQUESTS:
        await asyncio.sleep(0)
    for path in (CHAT, COMPLETIONS):
        response = await bench.post(path)
        assert (response.status_code, code(response)) == (429, "too_many_requests")
        assert response.headers["Retry-After"]
    bench.engine.stalls = False
    assert (await bench.post(CHAT, OTHER)).status_code == 200
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert (await bench.post(CHAT, stream=stream)).status_code == 200
    assert bench.api.running._running == {}, "of tenants that ask nothing nothing is kept"


async def test_a_body_is_not_read_before_the_token_is_known(bench: Bench) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with bench.client() as client:
        assert (await client.post(CHAT, content=unread())).status_code == 401


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_model_salt_and_priority_are_the_servers_whatever_the_caller_says(bench: Bench, path: str) -> None:
    await bench.post(path, cache_salt="00" * 32, priority=-100, model="active", user="canary")
    fields = bench.engine.asked[0].fields
    assert fields["model"] == ACTIVE
    assert fields["priority"] == 1, "the first that was admitted"
    assert fields["cache_salt"] == bench.answers.salts.salt(TENANT, ACTIVE) != "00" * 32
    assert "user" not in fields


INTERNALS = [
    "lora_request",
    "lora_path",
    "kv_transfer_params",
    "request_id",
    "mm_processor_kwargs",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "vllm_xargs",
    "structured_outputs",
    "guided_json",
    "tools",
    "add_special_tokens",
    "return_token_ids",
    "prompt_logprobs",
    "data_parallel_rank",
    "tenant",
    "adapter",
    "__class__",
]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", INTERNALS)
async def test_the_engines_internals_cannot_be_named(bench: Bench, name: str, path: str) -> None:
    response = await bench.post(path, **{name: "x"})
    assert (response.status_code, code(response)) == (400, "engine_refused")
    assert bench.engine.asked == []
    assert bench.holds() == 0


async def test_content_that_names_an_adapter_is_refused_and_selects_nothing(bench: Bench) -> None:
    part = {"type": ACTIVE, ACTIVE: "x"}
    response = await bench.post(CHAT, model="base", messages=[{"role": "user", "content": [part]}])
    assert response.status_code == 400
    assert bench.engine.asked == []


async def test_every_request_has_an_id_of_its_own_and_every_pair_a_salt_of_its_own(bench: Bench) -> None:
    for tenant, model in ((TENANT, "active"), (TENANT, EARLIER), (TENANT, "base"), (PLAIN, "base"), (OTHER, "active")):
        await bench.post(CHAT, tenant, model=model)
    await bench.post(COMPLETIONS, TENANT, model="active")
    asked = [asked.fields for asked in bench.engine.asked]
    assert len({fields["request_id"] for fields in asked}) == len(asked)
    salts = [fields["cache_salt"] for fields in asked]
    assert len(set(salts[:5])) == 5
    assert salts[5] == salts[0], "one tenant's own prefix is found again"
    assert all(0 < len(salt) <= 128 and int(salt, 16) >= 0 for salt in salts)


def test_no_two_pairs_of_tenant_and_adapter_share_a_salt_and_processes_do_not_either() -> None:
    salts = Salts(bytes(32))
    pairs = [("t1", "0" * 64), ("t10", "0" * 64), ("t1", None), ("t1", "base0"), ("t1b", "ase0"), ("t", "1base")]
    assert len({salts.salt(tenant, adapter) for tenant, adapter in pairs}) == len(pairs)
    assert Salts().salt("t1", None) != Salts().salt("t1", None)
    assert "key" not in repr(salts)
