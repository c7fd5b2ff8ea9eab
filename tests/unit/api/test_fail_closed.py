"""What cannot be answered is refused with a reason, and never answered by the base model instead."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from inference.engine_errors import AdapterLoadFailed, EngineRefused
from inference.fetching import NotServable
from schemas.serving_api import ADAPTER_HEADER
from tests.unit.api.replica import ACTIVE, CHAT, EARLIER, FOREIGN, MODELS, OTHER, PLAIN, TENANT, Bench, code


@pytest.mark.parametrize("error", [NotServable("a file of the adapter is missing"), None])
@pytest.mark.parametrize("model", [None, "active", ACTIVE])
async def test_a_tenant_whose_adapter_cannot_be_loaded_gets_no_answer_and_never_the_base(
    bench: Bench, model: str | None, error: Exception | None
) -> None:
    if error is not None:
        bench.files.broken[ACTIVE] = error
    else:

        async def refuse(digest: str, directory: Path) -> None:
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


async def test_a_replica_whose_places_are_all_in_use_says_when_to_come_again(bench: Bench) -> None:
    async with bench.placement.held(OTHER, FOREIGN), bench.placement.held(TENANT, EARLIER):
        response = await bench.post(CHAT)
    assert (response.status_code, code(response), response.headers["Retry-After"]) == (503, "replica_busy", "5")
    assert bench.engine.asked == []


async def test_an_engine_that_refuses_is_quoted_and_one_that_fails_is_not(bench: Bench) -> None:
    bench.engine.refusal = EngineRefused(400, "temperature is not valid for this model", field="temperature")
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (400, "engine_refused")
    assert response.json()["error"]["message"] == "temperature is not valid for this model"
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
