"""Who asks, and by which name: what each bearer gets, and that nothing else decides it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.serving_api import ADAPTER_HEADER
from tenancy.tenant_id import TenantId
from tests.unit.api.replica import (
    ACTIVE,
    BODIES,
    CHAT,
    COMPLETIONS,
    EARLIER,
    FOREIGN,
    MISSING,
    MODELS,
    NOW,
    OTHER,
    PLAIN,
    PUBLISHING,
    PURGED,
    RETIRED,
    STRANGER,
    TENANT,
    THEIRS,
    Bench,
    bearer,
    code,
)

TOKEN = bearer(TENANT)["Authorization"]
CREDENTIALS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"Authorization": ""},
    "no token": {"Authorization": "Bearer "},
    "garbage": {"Authorization": "Bearer garbage"},
    "another scheme": {"Authorization": TOKEN.replace("Bearer", "Basic")},
    "no scheme": {"Authorization": TOKEN.removeprefix("Bearer ")},
    "cut short": {"Authorization": TOKEN[:-4]},
    "expired": bearer(TENANT, at=NOW - timedelta(hours=2)),
    "not yet": bearer(TENANT, at=NOW + timedelta(hours=2)),
    "another key": bearer(TENANT, signer=THEIRS),
    "by name": {"Authorization": f"Bearer {TENANT}"},
    "as a cookie": {"Cookie": f"Authorization={TOKEN}"},
}
NAMES: dict[str, tuple[Any, str | None]] = {
    "active": ("active", ACTIVE),
    "none": (None, ACTIVE),
    "base": ("base", "base"),
    "own digest": (ACTIVE, ACTIVE),
    "own earlier digest": (EARLIER, EARLIER),
    "own digest that is being published": (PUBLISHING, None),
    "own retired digest": (RETIRED, None),
    "foreign digest": (FOREIGN, None),
    "missing digest": (MISSING, None),
    "digest in capitals": (ACTIVE.upper(), None),
    "digest and a line end": (f"{ACTIVE}\n", None),
    "path": (f"../{FOREIGN}", None),
    "empty": ("", None),
    "capitals": ("BASE", None),
    "the engine's name": ("tenant", None),
    "another tenant": (str(OTHER), None),
    "number": (1, None),
    "true": (True, None),
    "list": (["active"], None),
    "object": ({"id": "base"}, None),
    "surrogate": ("\ud800", None),
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", NAMES)
async def test_the_bearer_and_the_name_decide_which_adapter_answers(bench: Bench, name: str, path: str) -> None:
    model, adapter = NAMES[name]
    response = await bench.post(path, model=model)
    if adapter is None:
        assert (response.status_code, code(response)) == (404, "model_not_found")
        assert bench.engine.asked == []
        assert ADAPTER_HEADER not in response.headers
        return
    assert response.status_code == 200
    assert response.headers[ADAPTER_HEADER] == adapter
    assert [asked.adapter for asked in bench.engine.asked] == [None if adapter == "base" else adapter]
    assert bench.holds() == 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_without_a_token_of_ours_nothing_is_answered(bench: Bench, credential: str, path: str) -> None:
    headers = CREDENTIALS[credential]
    async with bench.client() as client:
        if path == MODELS:
            responses = [await client.get(path, headers=headers)]
        else:
            bodies = [{**BODIES[path], "model": model} for model in ("base", "active", ACTIVE, FOREIGN, MISSING, 1)]
            responses = [await client.post(path, json=body, headers=headers) for body in bodies]
    assert {(response.status_code, code(response)) for response in responses} == {(401, "invalid_token")}
    assert {response.headers["WWW-Authenticate"] for response in responses} == {"Bearer"}
    assert len({response.content for response in responses}) == 1
    assert bench.engine.asked == []
    assert bench.engine.calls == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_foreign_adapter_and_a_missing_one_get_the_same_bytes(bench: Bench, path: str) -> None:
    await bench.post(path, OTHER)  # loaded on this replica, by its owner
    answers = [await bench.post(path, model=model) for model in (FOREIGN, MISSING, RETIRED, PUBLISHING, "x", 1)]
    assert len({(answer.status_code, answer.content, tuple(answer.headers.items())) for answer in answers}) == 1
    assert FOREIGN not in answers[0].text


async def test_each_tenants_view_of_the_models_is_its_own(bench: Bench) -> None:
    async def names(tenant: TenantId) -> list[str]:
        response = await bench.get(MODELS, bearer(tenant))
        return [model["id"] for model in response.json()["data"]]

    assert await names(TENANT) == ["base", "active", ACTIVE, EARLIER]
    assert await names(OTHER) == ["base", "active", FOREIGN]
    assert await names(PLAIN) == ["base"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("model", [None, "active", "base"])
async def test_a_tenant_without_an_adapter_is_answered_by_the_base_model(
    bench: Bench, path: str, model: str | None
) -> None:
    response = await bench.post(path, PLAIN, model=model)
    assert (response.status_code, response.headers[ADAPTER_HEADER]) == (200, "base")
    assert bench.engine.asked[0].adapter is None


@pytest.mark.parametrize("tenant", [PURGED, STRANGER])
async def test_a_tenant_that_was_purged_or_never_was_is_not_served_at_all(bench: Bench, tenant: TenantId) -> None:
    answers = [await bench.post(path, tenant, model=name) for path in BODIES for name in ("base", "active", ACTIVE)]
    answers.append(await bench.get(MODELS, bearer(tenant)))
    assert {(answer.status_code, code(answer)) for answer in answers} == {(403, "tenant_not_active")}
    assert bench.engine.asked == []


async def test_a_blocked_tenant_is_refused_from_that_moment_and_the_others_are_not(bench: Bench) -> None:
    assert (await bench.post(CHAT)).status_code == 200
    bench.views.block(TENANT)
    assert (await bench.post(CHAT)).status_code == 403
    assert (await bench.get(MODELS)).status_code == 403
    assert (await bench.post(CHAT, OTHER)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"X-Sano-Tenant": OTHER}, {"X-Tenant": OTHER}, {"OpenAI-Organization": OTHER}, {ADAPTER_HEADER: FOREIGN}],
)
async def test_no_header_changes_whose_adapter_answers(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.client() as client:
        answer = await client.post(CHAT, json=BODIES[CHAT], headers={**bearer(TENANT), **headers})
        query = await client.post(f"{CHAT}?tenant={OTHER}&model={FOREIGN}", json=BODIES[CHAT], headers=bearer(TENANT))
    assert [answer.headers[ADAPTER_HEADER], query.headers[ADAPTER_HEADER]] == [ACTIVE, ACTIVE]
