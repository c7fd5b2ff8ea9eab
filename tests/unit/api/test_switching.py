"""What answered a tenant before goes on until what was activated after it is loaded: nobody waits for the load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from inference.adapters.adapter_files import FetchedAdapter, NotServable
from schemas.objects.state import TenantState
from schemas.serving_api import ADAPTER_HEADER
from tenancy.state.activation import activated, rolled_back
from tenancy.tenant_id import TenantId
from tests.unit.api.replica import ACTIVE, BODIES, CHAT, EARLIER, TENANT, Bench, bearer


class Gate:
    """Holds up each fetch of files until it is opened."""

    def __init__(self, bench: Bench) -> None:
        self.opened, self.fetch = asyncio.Event(), bench.files.fetch
        bench.files.fetch = self.passed  # type: ignore[method-assign]

    async def passed(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        await self.opened.wait()
        return await self.fetch(tenant, digest)


@pytest.fixture
def gate(bench: Bench) -> Iterator[Gate]:
    made = Gate(bench)
    made.opened.set()
    yield made
    made.opened.set()


async def answered_by(bench: Bench, **fields: object) -> str:
    async with bench.client() as client, asyncio.timeout(5):
        response = await client.post(CHAT, content=json.dumps({**BODIES[CHAT], **fields}), headers=bearer(TENANT))
    return str(response.headers.get(ADAPTER_HEADER, response.status_code))


async def activate(bench: Bench, digest: str) -> None:
    await bench.tenancy.outbox.swap(TENANT, activated(digest, bench.tenancy.outbox.entry))


async def loaded(bench: Bench, digest: str) -> None:
    async with asyncio.timeout(5):
        while not bench.placement.has(digest):
            await asyncio.sleep(0)


async def test_answers_go_on_by_the_adapter_before_until_the_new_one_is_loaded(bench: Bench, gate: Gate) -> None:
    assert await answered_by(bench) == ACTIVE
    gate.opened.clear()
    await activate(bench, EARLIER)
    assert {await answered_by(bench) for _ in range(3)} == {ACTIVE}
    assert await answered_by(bench, model="active") == ACTIVE
    gate.opened.set()
    await loaded(bench, EARLIER)
    assert await answered_by(bench) == EARLIER


async def test_who_names_an_adapter_gets_that_one(bench: Bench, gate: Gate) -> None:
    assert await answered_by(bench) == ACTIVE
    await activate(bench, EARLIER)
    assert await answered_by(bench, model=EARLIER) == EARLIER
    assert await answered_by(bench) == EARLIER


async def test_where_the_load_fails_the_one_before_does_not_answer_for_ever(bench: Bench) -> None:
    assert await answered_by(bench) == ACTIVE
    bench.files.broken[EARLIER] = NotServable("broken")
    await activate(bench, EARLIER)
    assert await answered_by(bench) == ACTIVE
    async with asyncio.timeout(5):
        while bench.switching._loads:
            await asyncio.sleep(0)
    assert await answered_by(bench) == "503"


async def test_what_a_rollback_left_or_what_is_retired_answers_no_more(bench: Bench, gate: Gate) -> None:
    await activate(bench, EARLIER)
    assert await answered_by(bench) == EARLIER
    await bench.tenancy.outbox.swap(TENANT, rolled_back(ACTIVE, bench.tenancy.outbox.entry))
    assert await answered_by(bench) == ACTIVE, "it waited for the load"
    await bench.placement._unload(EARLIER)

    def retired(state: TenantState) -> TenantState:
        gone = state.adapters[ACTIVE].evolve(status="retired")
        return state.evolve(active_adapter=EARLIER, adapters={**state.adapters, ACTIVE: gone})

    await bench.tenancy.states.swap(TENANT, retired)
    assert await answered_by(bench) == EARLIER


async def test_an_older_adapter_that_is_loaded_answers_for_none_that_was_unloaded_when_idle(bench: Bench) -> None:
    await activate(bench, EARLIER)
    assert await answered_by(bench) == EARLIER
    assert await answered_by(bench, model=ACTIVE) == ACTIVE
    await bench.placement._unload(EARLIER)
    assert await answered_by(bench) == EARLIER


async def test_nothing_of_it_is_remembered_of_a_tenant_that_is_purged(bench: Bench, gate: Gate) -> None:
    assert await answered_by(bench) == ACTIVE
    assert TENANT in bench.switching._last
    bench.views.block(TENANT)
    assert TENANT not in bench.switching._last
