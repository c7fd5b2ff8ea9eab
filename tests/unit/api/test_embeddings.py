"""POST /v1/embeddings: OpenAI's shape, by a fake embedder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from inference.api.embeddings import MAX_CHARACTERS, MAX_INPUTS, Embeddings
from inference.tenants.usage import Amounts
from schemas.objects.state import TenantState
from schemas.tenant.budget import BudgetSpent
from tenancy.embedding.port import Embedded, Embedder, EmbedderUnavailable, TextKind, TextTooLong
from tenancy.errors import Refused
from tenancy.state.policy_changes import policy_set
from tests.unit.api.replica import OTHER, PURGED, TENANT, Bench, bearer, code
from tests.unit.api.test_credentials import key

PATH = "/v1/embeddings"


@dataclass
class FakeEmbedder:
    """Two numbers a text: how long it is, and one."""

    name: str = "sha256:abc"
    dimensions: int = 2
    error: Exception | None = None
    asked: list[list[str]] = field(default_factory=list)
    kinds: list[TextKind] = field(default_factory=list)
    release: asyncio.Event | None = None

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embedded:
        self.asked.append(list(texts))
        self.kinds.append(kind)
        if self.release is not None:
            await self.release.wait()
        if self.error is not None:
            raise self.error
        return Embedded(np.array([[len(text), 1] for text in texts], np.float32), 3 * len(texts))


@pytest.fixture
def embedder(bench: Bench) -> FakeEmbedder:
    made = FakeEmbedder()

    async def opened() -> Embedder | None:
        return made

    bench.api.embeddings = Embeddings(opened, bench.views, bench.meter, bench.turns)
    return made


async def ask(bench: Bench, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    async with bench.client() as client:
        return await client.post(PATH, json=body, headers=headers or bearer(TENANT))


async def test_texts_are_embedded_in_their_order_and_metered(bench: Bench, embedder: FakeEmbedder) -> None:
    response = await ask(bench, input=["aa", "b"], model="embedder", user="Jane Doe")
    assert response.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [2.0, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 1.0]},
        ],
        "model": "sha256:abc",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }
    assert bench.meter.take()[TENANT] == Amounts(embedding_tokens=6)


async def test_a_text_is_embedded_as_what_the_application_says_it_is(bench: Bench, embedder: FakeEmbedder) -> None:
    for said in ("query", "passage", None):
        assert (await ask(bench, input="a", input_type=said)).status_code == 200
    await ask(bench, input="a")
    assert embedder.kinds == ["query", "passage", "plain", "plain"]


async def test_every_answer_says_what_is_left_of_the_minute(bench: Bench, embedder: FakeEmbedder) -> None:
    await bench.tenancy.states.swap(TENANT, policy_set({"tokens_per_minute": 1000, "requests_per_minute": 10}, None))
    headers = (await ask(bench, input=["aa", "b"])).headers
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-remaining-tokens"] == "994"


async def test_base64_is_float32_of_little_end(bench: Bench, embedder: FakeEmbedder) -> None:
    response = await ask(bench, input="abc", encoding_format="base64", model="sha256:abc", dimensions=2)
    held = base64.b64decode(response.json()["data"][0]["embedding"])
    assert np.frombuffer(held, "<f4").tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": ["a", None]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": "a" * (MAX_CHARACTERS + 1)}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 1}, "dimensions"),
        ({"input": "a", "dimensions": "2"}, "dimensions"),
        ({"input": "a", "truncate": True}, "truncate"),
        ({"input": "a", "input_type": "plain"}, "input_type"),
        ({"input": "a", "input_type": ["query"]}, "input_type"),
    ],
)
async def test_what_is_not_allowed_is_refused_by_its_field(
    bench: Bench, embedder: FakeEmbedder, body: dict[str, Any], field: str
) -> None:
    response = await ask(bench, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert embedder.asked == []


async def test_another_model_does_not_exist(bench: Bench, embedder: FakeEmbedder) -> None:
    response = await ask(bench, input="a", model="text-embedding-3-large")
    assert (response.status_code, code(response)) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (TextTooLong(1, 256), 400, "engine_refused"),
        (TextTooLong(None, None), 400, "engine_refused"),
        (EmbedderUnavailable("secret"), 503, "embedder_unavailable"),
        (Refused("embedder-refused", "secret"), 503, "embedder_unavailable"),
    ],
)
async def test_what_the_embedder_refuses_is_told_without_its_words(
    bench: Bench, embedder: FakeEmbedder, error: Exception, status: int, expected: str
) -> None:
    embedder.error = error
    response = await ask(bench, input=["a", "b"])
    assert (response.status_code, code(response)) == (status, expected)
    assert "secret" not in response.text
    assert bench.meter.take().get(TENANT, Amounts()) == Amounts()


async def test_an_installation_without_an_embedder_says_so(bench: Bench) -> None:
    async def none() -> Embedder | None:
        return None

    bench.api.embeddings = Embeddings(none, bench.views, bench.meter, bench.turns)
    response = await ask(bench, input="a")
    assert (response.status_code, code(response)) == (404, "no_embedder")


async def test_a_key_needs_the_scope_and_a_tenant_must_be_served(bench: Bench, embedder: FakeEmbedder) -> None:
    async def status(headers: dict[str, str]) -> int:
        return (await ask(bench, headers, input="a")).status_code

    assert await status({"Authorization": f"Bearer {await key(bench, 'chat', name='chats')}"}) == 403
    assert await status({"Authorization": f"Bearer {await key(bench, 'embeddings', name='search')}"}) == 200
    assert await status({"Authorization": "Bearer x"}) == 401
    assert await status(bearer(PURGED)) == 403
    assert embedder.asked == [["a"]]


async def test_a_tenant_has_one_request_at_the_embedder_and_another_tenant_does_not_wait_for_its_others(
    bench: Bench, embedder: FakeEmbedder
) -> None:
    embedder.release = asyncio.Event()
    many = [asyncio.create_task(ask(bench, input=f"{number}")) for number in range(4)]
    while not embedder.asked:
        await asyncio.sleep(0)
    other = asyncio.create_task(ask(bench, bearer(OTHER), input="other"))
    while len(embedder.asked) < 2:
        await asyncio.sleep(0)
    assert embedder.asked == [["0"], ["other"]]
    embedder.release.set()
    assert {response.status_code for response in await asyncio.gather(other, *many)} == {200}


async def test_who_leaves_while_its_texts_are_embedded_has_their_tokens_taken_and_who_only_waits_has_not(
    bench: Bench, embedder: FakeEmbedder
) -> None:
    """Else a tenant that always leaves keeps the embedder busy without end."""
    embedder.release = asyncio.Event()
    asked = [asyncio.create_task(ask(bench, input=["a" * 400, "b" * 400])) for _ in range(2)]
    while not embedder.asked:
        await asyncio.sleep(0)
    bench.turns.rates.now = lambda: 0.0
    for each in asked[::-1]:
        each.cancel()
        await asyncio.gather(each, return_exceptions=True)
    assert len(embedder.asked) == 1
    policy = (await bench.views.active(TENANT)).policy
    assert bench.turns.rates._accounts[TENANT].tokens.left == policy.tokens_per_minute - 200


async def test_a_tenant_that_is_fenced_while_its_texts_are_embedded_gets_nothing(
    bench: Bench, embedder: FakeEmbedder
) -> None:
    embedder.release = asyncio.Event()
    asked = asyncio.create_task(ask(bench, input="a"))
    while not embedder.asked:
        await asyncio.sleep(0)
    bench.views.block(TENANT)
    embedder.release.set()
    assert (await asked).status_code == 403


async def test_a_tenant_whose_budget_is_used_up_gets_no_embeddings(bench: Bench, embedder: FakeEmbedder) -> None:
    month = f"{bench.tenancy.clock():%Y-%m}"

    def spent(state: TenantState) -> TenantState:
        policy = state.policy.evolve(monthly_budget=1.0, on_budget="stop")
        return state.evolve(policy=policy, budget=BudgetSpent(month=month, spent=1.0))

    await bench.tenancy.states.swap(TENANT, spent)
    refused = await ask(bench, input="a text")
    assert (refused.status_code, code(refused)) == (429, "insufficient_quota")
    assert embedder.asked == []
