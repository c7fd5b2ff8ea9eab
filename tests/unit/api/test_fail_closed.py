"""What cannot be answered is refused with a reason, and never answered by the base model instead."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from inference.adapters.adapter_files import FetchedAdapter, NotServable
from inference.api.answers import HeldStream
from inference.engine.errors import AdapterLoadFailed, EngineRefused
from inference.engine.loaded_adapters import Verify
from inference.errors import RequestRefused
from inference.replica.lease import ReplicaLease
from inference.tenants.usage import Amounts
from schemas.serving_api import ADAPTER_HEADER
from tenancy.tenant_id import TenantId
from tests.fixtures.verified import verified
from tests.unit.api.replica import (
    ACTIVE,
    BODIES,
    CHAT,
    EARLIER,
    FOREIGN,
    MODELS,
    OTHER,
    PLAIN,
    TENANT,
    TEXT_EVENTS,
    Bench,
    code,
)


@pytest.mark.parametrize("error", [NotServable("a file of the adapter is missing"), None])
@pytest.mark.parametrize("model", [None, "active", ACTIVE])
async def test_a_tenant_whose_adapter_cannot_be_loaded_gets_no_answer_and_never_the_base(
    bench: Bench, model: str | None, error: Exception | None
) -> None:
    if error is not None:
        bench.files.broken[ACTIVE] = error
    else:

        async def refuse(digest: str, directory: Path, verify: Verify) -> None:
            raise AdapterLoadFailed(digest, "vLLM did not register it")

        bench.engine.load = refuse  # type: ignore[method-assign]
    for _ in range(2):
        response = await bench.post(CHAT, model=model)
        assert (response.status_code, code(response)) == (503, "adapter_unavailable")
        assert response.headers["Retry-After"]
    assert bench.engine.asked == []
    assert (await bench.post(CHAT, model="base")).headers[ADAPTER_HEADER] == "base", "asked for by name it answers"


async def test_after_its_lease_a_replica_serves_no_adapter_and_still_the_base_model(bench: Bench) -> None:
    bench.now += timedelta(seconds=30)
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "replica_fenced")
    assert (await bench.post(CHAT, model=ACTIVE)).status_code == 503
    assert (await bench.post(CHAT, model=FOREIGN)).status_code == 404
    assert (await bench.post(CHAT, model="base")).status_code == 200
    assert (await bench.post(CHAT, PLAIN)).status_code == 200
    await bench.lease.renew()
    assert (await bench.post(CHAT)).headers[ADAPTER_HEADER] == ACTIVE


async def test_no_answer_begins_after_the_lease_when_the_adapter_took_longer_to_load_than_was_left_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(tenant: TenantId, digest: str) -> FetchedAdapter:
        bench.now += timedelta(seconds=30)
        return FetchedAdapter(Path("/nowhere") / digest, verified)

    monkeypatch.setattr(bench.files, "fetch", slow)
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "replica_fenced")
    assert bench.engine.asked == []
    assert bench.holds() == 0


async def test_a_whole_answer_that_is_ready_after_the_lease_is_not_given_out(bench: Bench) -> None:
    bench.engine.before_answer = lambda: setattr(bench, "now", bench.now + timedelta(seconds=30))
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "replica_fenced")
    assert bench.meter.take()[TENANT].completion_tokens > 0, "it was made"
    assert (await bench.post(CHAT, model="base")).status_code == 200
    assert bench.holds() == 0


@pytest.mark.parametrize("model", ["active", "base"])
async def test_a_stream_by_an_adapter_ends_with_its_lease_and_one_by_the_base_model_goes_on(
    bench: Bench, model: str
) -> None:
    stream = (await bench.answers.answer(TENANT, "chat", {**BODIES[CHAT], "model": model, "stream": True})).body
    assert isinstance(stream, HeldStream)
    assert await anext(stream) == TEXT_EVENTS[0]
    bench.now += timedelta(seconds=30)
    if model == "base":
        assert await anext(stream) == TEXT_EVENTS[1]
    else:
        with pytest.raises(RequestRefused) as refused:
            await anext(stream)
        assert refused.value.code == "replica_fenced"
    await stream.aclose()
    assert (bench.holds(), bench.engine.inflight(ACTIVE)) == (0, 0)
    assert bench.meter.take() == {TENANT: Amounts(5, 7)}, "it was made"


async def test_a_caller_whose_stream_ends_with_the_lease_is_told_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = iter((True, True, True, True, True, False))
    monkeypatch.setattr(ReplicaLease, "is_held", lambda _: next(held))
    response = await bench.post(CHAT, stream=True)
    first, last, done = response.text.rstrip().split("\n\n")
    assert first.encode() + b"\n\n" == TEXT_EVENTS[0]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", 503)
    assert done == "data: [DONE]"


async def test_a_replica_whose_places_are_all_in_use_says_when_to_come_again(bench: Bench) -> None:
    async with bench.placement.held(OTHER, FOREIGN), bench.placement.held(TENANT, EARLIER):
        response = await bench.post(CHAT)
    assert (response.status_code, code(response), response.headers["Retry-After"]) == (503, "replica_busy", "5")
    assert bench.engine.asked == []


async def test_an_engine_that_refuses_is_quoted_and_one_that_fails_is_not(bench: Bench) -> None:
    bench.engine.refusal = EngineRefused(400, "temperature is not valid for this model", field="temperature")
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (400, "engine_refused")
    error = response.json()["error"]
    assert (error["message"], error["type"], error["param"]) == (
        "temperature is not valid for this model",
        "invalid_request_error",
        "temperature",
    )
    bench.engine.refusal = AdapterLoadFailed(ACTIVE, "inner words")
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "adapter_unavailable")
    assert "inner words" not in response.text
    assert bench.holds() == 0


async def test_a_store_that_does_not_answer_stops_everybody_and_nobody_is_served_by_guess(bench: Bench) -> None:
    bench.objects.is_down = True
    for response in (await bench.post(CHAT, model="base"), await bench.post(CHAT), await bench.get(MODELS)):
        assert (response.status_code, code(response)) == (503, "store_unavailable")
    assert bench.engine.asked == []
