"""The routes are those of the contract, and what they say tells nothing about who asked what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.replica import (
    ACTIVE,
    BODIES,
    CHAT,
    COMPLETIONS,
    FOREIGN,
    MODELS,
    OTHER,
    TENANT,
    Bench,
    bearer,
    code,
)

OPEN = "application/openmetrics-text"
UNKNOWN = [
    "/",
    "/v1",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/docs/oauth2-redirect",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/responses/resp_1",
    "/v1/conversations",
    "/v1/audio/transcriptions",
    "/v1/audio/speech",
    "/v1/rerank",
    "/v1/score",
    "/v1/files",
    f"/v1/models/{ACTIVE}",
    "/v1/chat/completions/render",
    "/v1/completions/render",
    "/v1/messages",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/pooling",
    "/classify",
    "/score",
    "/rerank",
    "/invocations",
    "/generate",
    "/inference/v1/generate",
    "/abort_requests",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/pause",
    "/resume",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/scale_elastic_ep",
    "/start_profile",
    "/server_info",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/ping",
    "/version",
    "/load",
    "/v2/models",
    "/static/x",
    "/.env",
]


@pytest.mark.parametrize("path", UNKNOWN)
async def test_there_are_no_other_routes(bench: Bench, path: str) -> None:
    async with bench.client() as client:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response = await client.request(method, path, headers=bearer(TENANT), json=BODIES[CHAT])
            assert (response.status_code, code(response)) == (404, "route_not_found"), method
    assert bench.engine.asked == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_slash_too_many_is_no_route_and_no_redirect(bench: Bench, method: str, path: str) -> None:
    async with bench.client() as client:
        response = await client.request(
            method, f"{path}/", headers=bearer(TENANT) | {"Host": "evil.example"}, json=BODIES[CHAT]
        )
    assert (response.status_code, code(response)) == (404, "route_not_found")
    assert "location" not in response.headers


@pytest.mark.parametrize("path", ["/health/live/", "/health/ready/", "/metrics/"])
async def test_the_platforms_routes_redirect_no_more_than_the_tenants(bench: Bench, path: str) -> None:
    response = await bench.ask_health(path, {"Host": "evil.example"})
    assert response.status_code == 404
    assert "location" not in response.headers


def test_the_routes_are_exactly_those_of_the_contract(bench: Bench) -> None:
    routes = {
        (getattr(route, "path", ""), tuple(sorted(getattr(route, "methods", None) or ()))) for route in _routes(bench)
    }
    assert routes == {
        (CHAT, ("POST",)),
        (COMPLETIONS, ("POST",)),
        ("/v1/responses", ("POST",)),
        ("/v1/feedback", ("POST",)),
        ("/v1/embeddings", ("POST",)),
        (MODELS, ("GET",)),
        ("/tenants/{tenant}/jwks.json", ("GET",)),
    }
    assert {getattr(route, "path", "") for route in bench.health.routes} == {
        "/health/live",
        "/health/ready",
        "/metrics",
    }


def _routes(bench: Bench) -> list[Any]:
    return list(bench.app.router.routes)


async def test_a_known_route_takes_its_own_method_only(bench: Bench) -> None:
    async with bench.client() as client:
        for method, path in (("GET", CHAT), ("DELETE", COMPLETIONS), ("POST", MODELS)):
            response = await client.request(method, path, headers=bearer(TENANT))
            assert (response.status_code, code(response)) == (405, "method_not_allowed")
            assert response.headers["Allow"] in {"GET", "POST"}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4", "application/openmetrics-text"),
        ("text/plain;version=1.0.0", "text/plain"),
        *[(f"{kind};version={v}", kind) for kind in ("text/plain", OPEN) for v in ("x", "1.x", "9" * 9999)],
        ("text/plain;version=,;;=,application/openmetrics-text;version", "application/openmetrics-text"),
        ("application/json", "text/plain"),
    ],
)
async def test_metrics_are_answered_whatever_form_is_asked_for(bench: Bench, accept: str, kind: str) -> None:
    response = await bench.ask_health("/metrics", {"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(kind)


async def test_neither_errors_nor_metrics_say_who_asked_what(bench: Bench) -> None:
    canary = "canary-8841"
    responses = [
        await bench.post(CHAT, model=canary),
        await bench.post(CHAT, messages=canary),
        await bench.post(CHAT, messages=[{"role": canary, "content": canary}]),
        await bench.post(CHAT, **{f"{canary} x": canary}),
        await bench.post(CHAT, stream=True, stream_options=canary),
        await bench.raw(canary.encode()),
        await bench.get(MODELS, {"Authorization": f"Bearer {canary}"}),
        await bench.post(CHAT),
        await bench.post(CHAT, OTHER),
    ]
    assert all(canary not in response.text + str(response.headers) for response in responses)
    metrics = bench.reader.get_metrics_data()
    assert metrics is not None
    shown = metrics.to_json()
    assert '"adapter": "own"' in shown
    for secret in (canary, ACTIVE, FOREIGN, f'"{TENANT}"', f'"{OTHER}"'):
        assert secret not in shown
