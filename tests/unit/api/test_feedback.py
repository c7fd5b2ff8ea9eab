"""POST /v1/feedback: a word on an answer, from the tenant that got it and from nobody else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from inference.tenants.answer_ids import RATED_FOR, AnswerIds
from inference.tenants.usage import Amounts, UsageMeter
from schemas.objects.state import CanaryState, TenantState
from schemas.stores.registry import store_of_key
from tenancy.errors import StoreUnavailable
from tenancy.tenant_id import TenantId
from tests.unit.api.replica import (
    ACTIVE,
    CHAT,
    COMPLETIONS,
    EARLIER,
    NOW,
    OTHER,
    PLAIN,
    PURGED,
    TENANT,
    Bench,
    bearer,
    code,
)
from tests.unit.api.test_credentials import key

PATH = "/v1/feedback"


async def rate(bench: Bench, headers: dict[str, str] | None = None, /, **body: Any) -> httpx.Response:
    async with bench.client() as client:
        content = json.dumps({"rating": "up", **body})
        return await client.post(PATH, content=content, headers=headers or bearer(TENANT))


async def answered(bench: Bench, tenant: TenantId = TENANT, path: str = CHAT, **fields: Any) -> str:
    """The id of an answer, as the engine was told it."""
    assert (await bench.post(path, tenant, **fields)).status_code == 200
    return str(bench.engine.asked[-1].fields["request_id"])


def counted(bench: Bench) -> dict[tuple[str, str, str], int]:
    data: Any = bench.reader.get_metrics_data()
    points = [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "sano_inference_feedback"
        for point in metric.data.data_points
    ]
    return {(p.attributes["rating"], p.attributes["code"], p.attributes["adapter"]): p.value for p in points}


@pytest.mark.parametrize(("path", "prefix"), [(CHAT, "chatcmpl-"), (COMPLETIONS, "cmpl-"), (CHAT, "resp_"), (CHAT, "")])
async def test_an_answer_is_rated_by_its_id_and_counted(bench: Bench, path: str, prefix: str) -> None:
    answer_id = prefix + await answered(bench, path=path)
    got = await rate(bench, answer_id=answer_id, rating="down", code="incorrect")
    assert got.json() == {"object": "feedback", "answer_id": answer_id, "rating": "down", "adapter": ACTIVE}
    assert counted(bench) == {("down", "incorrect", "active"): 1}


async def test_it_counts_for_what_the_adapter_is_to_its_tenant(bench: Bench) -> None:
    def with_canary(state: TenantState) -> TenantState:
        return state.evolve(canary=CanaryState(adapter_digest=EARLIER, percent=50, activation=1, began_at=NOW))

    earlier = await answered(bench, model=EARLIER)
    await rate(bench, answer_id=earlier)
    await bench.tenancy.states.swap(TENANT, with_canary)
    for answer_id in (await answered(bench, model=EARLIER), await answered(bench, model="base")):
        assert (await rate(bench, answer_id=answer_id)).status_code == 200
    assert (await rate(bench, bearer(PLAIN), answer_id=await answered(bench, PLAIN))).json()["adapter"] == "base"
    assert counted(bench) == {("up", "none", "other"): 1, ("up", "none", "canary"): 1, ("up", "none", "base"): 2}
    await rate(bench, answer_id=await answered(bench, model=EARLIER), rating="down")
    await rate(bench, answer_id=await answered(bench, model=ACTIVE), rating="down")
    amounts = bench.meter.take()[TENANT]
    assert {version.role: one.rated_down for version, one in amounts.versions.items()} == {"candidate": 1, "active": 1}
    assert amounts.ratings == {(EARLIER, "up"): 2, (EARLIER, "down"): 1, (ACTIVE, "down"): 1}


async def test_another_tenants_answer_and_one_that_nobody_got_are_the_same_404(bench: Bench) -> None:
    answer_id = await answered(bench)
    changed = answer_id[:-1] + ("0" if answer_id[-1] != "0" else "1")
    other = ("1" if answer_id[0] != "1" else "2") + answer_id[1:]
    answers = [await rate(bench, bearer(OTHER), answer_id=answer_id)]
    answers += [await rate(bench, answer_id=each) for each in (changed, other, "0" * 64, "x", "", answer_id + "0")]
    assert {(got.status_code, got.text) for got in answers} == {(404, answers[0].text)}
    assert code(answers[0]) == "answer_not_found"
    assert counted(bench) == {}


async def test_any_replica_knows_the_answer_without_a_record_of_it(bench: Bench) -> None:
    answer_id = await answered(bench)
    elsewhere = AnswerIds(bench.tenancy, bench.views.require_admitted)
    found = await elsewhere.given(TENANT, f"chatcmpl-{answer_id}", (EARLIER, ACTIVE))
    assert found is not None and found.adapter == ACTIVE
    assert await elsewhere.given(TENANT, answer_id, (EARLIER,)) is None
    assert await elsewhere.given(OTHER, answer_id, (ACTIVE,)) is None


async def test_an_answer_can_be_rated_for_some_days_and_its_rating_is_remembered_as_long(bench: Bench) -> None:
    answer_id, now = await answered(bench), bench.tenancy.clock()

    async def can_be_rated(late: timedelta) -> bool:
        tenancy = replace(bench.tenancy, clock=lambda: now + late)
        return await AnswerIds(tenancy, bench.views.require_admitted).given(TENANT, answer_id, (ACTIVE,)) is not None

    assert await can_be_rated(RATED_FOR - timedelta(seconds=1))
    assert not await can_be_rated(RATED_FOR)
    await rate(bench, answer_id=answer_id)
    ends = int((now + RATED_FOR).timestamp())
    assert [key for key in bench.objects.objects if key.startswith("spent/")] == [f"spent/{ends:012d}-{answer_id[:32]}"]


async def test_the_first_rating_of_an_answer_counts_once_whichever_replicas_are_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_canary(state: TenantState) -> TenantState:
        return state.evolve(canary=CanaryState(adapter_digest=EARLIER, percent=50, activation=1, began_at=NOW))

    here = bench.api.feedback
    assert here is not None
    elsewhere = replace(here, meter=UsageMeter())
    await bench.tenancy.states.swap(TENANT, with_canary)
    answer_id = await answered(bench, model=EARLIER)

    async def unavailable(*_: object, **__: object) -> str:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(bench.objects, "put", unavailable)
        assert (await rate(bench, answer_id=answer_id, rating="down")).status_code == 503
    sent = ((here, ""), (elsewhere, "chatcmpl-"), (here, "resp_"), (elsewhere, ""))
    told = await asyncio.gather(
        *[one.take(TENANT, {"answer_id": prefix + answer_id, "rating": "down"}) for one, prefix in sent]
    )
    assert [said["adapter"] for said in told] == [EARLIER] * 4
    assert (await rate(bench, answer_id=answer_id, rating="up")).status_code == 200, "and changes nothing"
    meters = [one.meter.take().get(TENANT, Amounts()) for one in (here, elsewhere)]
    assert sum(counts.rated_down for one in meters for counts in one.versions.values()) == 1
    assert meters[0].ratings + meters[1].ratings == {(EARLIER, "down"): 1}
    assert counted(bench) == {("down", "none", "canary"): 1}
    spent = [key for key in bench.objects.objects if key.startswith("spent/")]
    assert [key.rpartition("-")[2] for key in spent] == [answer_id[:32]]
    assert {store_of_key(key).name for key in spent} == {"spent"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"answer_id": None}, "answer_id"),
        ({"answer_id": 7}, "answer_id"),
        ({"rating": "good"}, "rating"),
        ({"rating": None}, "rating"),
        ({"code": "Jane Doe"}, "code"),
        ({"code": ["style"]}, "code"),
        ({"comment": "Jane Doe"}, "comment"),
    ],
)
async def test_what_is_no_feedback_is_refused_and_no_text_is_taken(
    bench: Bench, body: dict[str, Any], field: str
) -> None:
    got = await rate(bench, **{"answer_id": await answered(bench), **body})
    assert (got.status_code, got.json()["error"]["param"]) == (400, field)
    assert "Jane" not in got.text
    assert counted(bench) == {}


async def test_a_key_needs_the_scope_and_a_tenant_must_be_served(bench: Bench) -> None:
    answer_id = await answered(bench)
    search = {"Authorization": f"Bearer {await key(bench, 'embeddings', name='search')}"}
    chats = {"Authorization": f"Bearer {await key(bench, 'chat', name='chats')}"}
    assert code(await rate(bench, search, answer_id=answer_id)) == "insufficient_scope"
    assert (await rate(bench, chats, answer_id=answer_id)).status_code == 200
    assert (await rate(bench, bearer(PURGED), answer_id=answer_id)).status_code == 403
    assert (await rate(bench, {"Authorization": "Bearer x"}, answer_id=answer_id)).status_code == 401


async def test_a_fenced_tenants_key_is_forgotten(bench: Bench) -> None:
    await answered(bench)
    await answered(bench, OTHER)
    bench.views.block(TENANT)
    assert set(bench.ids._keys._held) == {OTHER, PLAIN}


async def test_an_answer_does_not_fail_for_want_of_a_key_and_cannot_be_rated_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(_: object, __: TenantId) -> None:
        raise StoreUnavailable("the master key did not answer")

    with monkeypatch.context() as patched:
        patched.setattr(type(bench.tenancy.keys), "open", unavailable)
        bench.ids.forget(TENANT)
        answer_id = await answered(bench)
    assert code(await rate(bench, answer_id=answer_id)) == "answer_not_found"
    assert (await rate(bench, answer_id=await answered(bench))).status_code == 200
