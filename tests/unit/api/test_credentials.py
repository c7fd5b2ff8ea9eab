"""Who calls: by a token or an API key, and with the same answer for everything that is wrong with either."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from inference.tenants.admission import LOOKS, WAITING_LOOKS
from producers.commands import api_keys
from schemas.tenant.api_keys import Scope
from tenancy.state.api_keys import GivenKey
from tenancy.tenant_id import TenantId
from tests.unit.api.replica import ACTIVE, BODIES, CHAT, MODELS, PURGED, STRANGER, TENANT, Bench, code

RESPONSES = "/v1/responses"


async def key(bench: Bench, *scopes: Scope, name: str = "app", tenant: TenantId = TENANT) -> str:
    lifetime = timedelta(hours=1)
    created = await api_keys.create(
        bench.tenancy, tenant, name=name, scopes=scopes or ("chat",), lifetime=lifetime, created_by="op"
    )
    return created.text


async def ask(bench: Bench, text: str, path: str = CHAT) -> tuple[int, str]:
    async with bench.client() as client:
        headers = {"Authorization": f"Bearer {text}"}
        answer = await (
            client.get(path, headers=headers)
            if path == MODELS
            else client.post(path, json=BODIES[path], headers=headers)
        )
    return answer.status_code, answer.headers.get("x-sano-adapter", "") if answer.status_code == 200 else code(answer)


async def test_a_key_is_answered_as_its_tenant(bench: Bench) -> None:
    text = await key(bench)
    assert await ask(bench, text) == (200, ACTIVE)
    assert (await ask(bench, text, MODELS))[0] == 200


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(bench: Bench) -> None:
    text = await key(bench)
    revoked = await key(bench, name="revoked")
    given = GivenKey.parse(revoked)
    assert given is not None
    await api_keys.revoke(bench.tenancy, TENANT, given.key_id, revoked_by="op")
    foreign = text.replace(f"sano_{TENANT}_", "sano_t2_")
    wrong = [
        revoked,
        foreign,
        text[:-1],
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        *(GivenKey.random(tenant).text for tenant in (TENANT, PURGED, STRANGER, TenantId("never-there"))),
        "sano_",
        "sano_t1_x_y",
    ]
    answers = set()
    for each in wrong:
        async with bench.client() as client:
            answer = await client.post(CHAT, json=BODIES[CHAT], headers={"Authorization": f"Bearer {each}"})
        answers.add((answer.status_code, answer.text, answer.headers["www-authenticate"]))
    assert [status for status, _, _ in answers] == [401]
    assert bench.engine.asked == []


async def test_a_revoked_key_is_refused_once_the_cached_state_is_too_old(bench: Bench) -> None:
    moment = 0.0
    bench.views.ttl_seconds = 1.0
    bench.views.now = lambda: moment
    text = await key(bench)
    assert (await ask(bench, text))[0] == 200
    given = GivenKey.parse(text)
    assert given is not None
    await api_keys.revoke(bench.tenancy, TENANT, given.key_id, revoked_by="op")
    moment = 1.1
    assert await ask(bench, text) == (401, "invalid_token")


async def test_a_key_expires(bench: Bench) -> None:
    text = await key(bench)
    bench.now += timedelta(hours=1)
    await bench.lease.renew()
    assert await ask(bench, text) == (401, "invalid_token")


async def test_a_key_is_good_for_its_scopes_only(bench: Bench) -> None:
    assert await ask(bench, await key(bench, "embeddings", "knowledge")) == (403, "insufficient_scope")
    assert bench.engine.asked == []


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_who_asks_for_documents_needs_the_scope_for_that_and_who_wants_none_does_not(
    bench: Bench, path: str
) -> None:
    body = BODIES[CHAT] if path == CHAT else {"input": "q"}

    async def is_asked(text: str, retrieval: object) -> bool:
        before = len(bench.engine.asked)
        async with bench.client() as client:
            headers = {"Authorization": f"Bearer {text}"}
            answer = await client.post(path, json={**body, "retrieval": retrieval}, headers=headers)
        if answer.status_code == 403:
            assert code(answer) == "insufficient_scope"
        return len(bench.engine.asked) > before

    chat, both = await key(bench), await key(bench, "chat", "knowledge", name="other")
    assert await is_asked(chat, {"top_k": 0})
    for each in ({}, {"top_k": 1}, {"filter": {"document_ids": ["d1"]}}):
        assert not await is_asked(chat, each)
        assert await is_asked(both, each)


async def test_a_stranger_who_guesses_one_tenants_name_again_and_again_costs_one_look(bench: Bench) -> None:
    looks = 0
    read = bench.objects.get

    async def counted(name: str):  # type: ignore[no-untyped-def]
        nonlocal looks
        looks += "never-there" in name
        return await read(name)

    bench.objects.get = counted  # type: ignore[method-assign, assignment]
    await asyncio.gather(*[ask(bench, GivenKey.random(TenantId("never-there")).text) for _ in range(30)])
    assert looks <= 8


@pytest.mark.parametrize("by", ["key", "public key"])
async def test_strangers_who_wait_for_looks_at_tenants_are_few_and_keep_no_tenant_waiting(
    bench: Bench, by: str
) -> None:
    """Each of them keeps a connection: else a thousand made-up names would have all, and a tenant none."""
    text = await key(bench)
    assert (await ask(bench, text))[0] == 200
    release, read = asyncio.Event(), bench.objects.get

    async def slowly(name: str):  # type: ignore[no-untyped-def]
        if "nobody" in name:
            await release.wait()
        return await read(name)

    async def stranger(number: int) -> int:
        made_up = TenantId(f"nobody-{number}")
        if by == "key":
            return (await ask(bench, GivenKey.random(made_up).text))[0]
        return (await bench.get(f"/tenants/{made_up}/jwks.json", {})).status_code

    bench.objects.get = slowly  # type: ignore[method-assign, assignment]
    asked = [asyncio.create_task(stranger(number)) for number in range(LOOKS + WAITING_LOOKS + 40)]
    async with asyncio.timeout(20):
        while sum(each.done() for each in asked) < 40:
            await asyncio.sleep(0)
        assert (await ask(bench, text))[0] == 200
        release.set()
        statuses = [await each for each in asked]
    assert sorted(statuses) == sorted([503] * 40 + [401 if by == "key" else 404] * (LOOKS + WAITING_LOOKS))


@pytest.mark.parametrize("prefix", ["Basic", "bearer"])
async def test_a_key_is_taken_as_a_bearers_only(bench: Bench, prefix: str) -> None:
    async with bench.client() as client:
        headers = {"Authorization": f"{prefix} {await key(bench)}"}
        answer = await client.post(CHAT, json=BODIES[CHAT], headers=headers)
    assert answer.status_code == (200 if prefix == "bearer" else 401)
