"""What a tenant's policy allows it on a replica, and whose turn it is when many ask."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from inference.tenants.fair_queue import Capacity, FairQueue
from tenancy.state.policy_changes import policy_set
from tenancy.tenant_id import TenantId
from tests.unit.api.replica import ACTIVE, CHAT, COMPLETIONS, MISSING, OTHER, PLAIN, TENANT, USAGE, Bench, code


async def allow(bench: Bench, tenant: TenantId = TENANT, **fields: int) -> None:
    await bench.tenancy.states.swap(tenant, policy_set(fields, None))


def rationed(bench: Bench, places: int, slots: int = 8) -> None:
    bench.turns.queue = FairQueue(Capacity(places, slots, 0))


@asynccontextmanager
async def asking(bench: Bench, tenant: TenantId, **fields: Any) -> Any:
    """A request that is under way until this ends."""
    task = asyncio.create_task(bench.post(CHAT, tenant, **fields))
    try:
        for _ in range(200):
            await asyncio.sleep(0)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def tokens_left(response: httpx.Response) -> int:
    return int(response.headers["x-ratelimit-remaining-tokens"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_every_answer_says_what_is_left_of_the_minute(bench: Bench, path: str, stream: bool) -> None:
    await allow(bench, tokens_per_minute=1000, requests_per_minute=10)
    first = await bench.post(path, stream=stream)
    second = await bench.post(path, stream=stream)
    assert second.headers["x-ratelimit-limit-requests"] == "10"
    assert second.headers["x-ratelimit-remaining-requests"] == "8"
    used = USAGE["total_tokens"]
    if stream:
        assert tokens_left(first) - tokens_left(second) == used, "the first was still being made"
    else:
        assert (tokens_left(first), tokens_left(second)) == (1000 - used, 1000 - 2 * used)


async def test_who_has_used_up_its_minute_is_told_when_to_come_again_and_the_others_are_answered(bench: Bench) -> None:
    await allow(bench, requests_per_minute=1)
    assert (await bench.post(CHAT)).status_code == 200
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (429, "rate_limit_exceeded")
    assert response.headers["Retry-After"] == "60"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert (await bench.post(CHAT, OTHER)).status_code == 200
    await allow(bench, PLAIN, tokens_per_minute=USAGE["total_tokens"])
    assert [(await bench.post(CHAT, PLAIN)).status_code for _ in range(2)] == [200, 429]


async def test_a_request_that_is_refused_takes_no_tokens(bench: Bench) -> None:
    await allow(bench, tokens_per_minute=1000)
    assert (await bench.post(CHAT, nonsense=1)).status_code == 400
    assert tokens_left(await bench.post(CHAT)) == 1000 - USAGE["total_tokens"]
    assert bench.turns.queue._tenants == {}, "and counts for nothing"


async def test_more_than_may_run_wait_and_more_than_may_wait_are_refused(bench: Bench) -> None:
    await allow(bench, concurrent_requests=1, queued_requests=1)
    bench.engine.stalls = True
    async with asking(bench, TENANT), asking(bench, TENANT) as waiting:
        assert len(bench.engine.asked) == 1
        response = await bench.post(CHAT)
        assert (response.status_code, code(response)) == (429, "queue_full")
        assert response.headers["Retry-After"]
        assert response.headers["x-ratelimit-limit-requests"]
        bench.engine.stalls = False
        assert (await bench.post(CHAT, OTHER)).status_code == 200
        assert not waiting.done()
    assert (await bench.post(CHAT)).status_code == 200
    assert bench.turns._granted == {}


async def test_one_tenants_queue_is_not_every_other_tenants_queue(bench: Bench) -> None:
    rationed(bench, places=1)
    bench.engine.stalls = True
    async with (
        asking(bench, TENANT) as running,
        asking(bench, TENANT),
        asking(bench, TENANT),
        asking(bench, PLAIN) as late,
    ):
        bench.engine.stalls = False
        running.cancel()
        assert (await late).status_code == 200
        assert [asked.adapter for asked in bench.engine.asked[:3]] == [ACTIVE, ACTIVE, None], "not the third"


async def test_who_waits_holds_no_adapter_and_no_place_for_one(bench: Bench) -> None:
    rationed(bench, places=1)
    bench.engine.stalls = True
    async with asking(bench, PLAIN), asking(bench, TENANT), asking(bench, OTHER):
        assert len(bench.engine.asked) == 1
        assert len(bench.engine.names) == 2, "they are loaded meanwhile"
        assert bench.holds() == 0
        assert bench.meter._running == {PLAIN: 1}, "no time of the engine is charged for waiting"


@pytest.mark.parametrize("model", ["base", "active"])
async def test_who_waits_when_its_tenant_is_fenced_is_refused_and_not_answered_later(bench: Bench, model: str) -> None:
    rationed(bench, places=1)
    bench.engine.stalls = True
    async with asking(bench, PLAIN), asking(bench, TENANT, model=model) as waiting:
        bench.views.block(TENANT)
        response = await waiting
        assert (response.status_code, code(response)) == (403, "tenant_not_active")
        assert TENANT not in bench.turns.queue._tenants
    assert len(bench.engine.asked) == 1


async def test_who_hangs_up_while_it_waits_leaves_its_turn_to_others(bench: Bench) -> None:
    await allow(bench, tokens_per_minute=1000)
    rationed(bench, places=1)
    bench.engine.stalls = True
    async with asking(bench, PLAIN) as running:
        async with asking(bench, TENANT):
            pass
        assert bench.turns.queue.waiting(TENANT) == 0
        bench.engine.stalls = False
        running.cancel()
        assert tokens_left(await bench.post(CHAT)) == 1000 - USAGE["total_tokens"]


async def test_a_stream_is_charged_as_it_comes_and_its_place_is_free_when_it_is_made(bench: Bench) -> None:
    rationed(bench, places=1)
    bench.engine.stalls = True
    async with asking(bench, TENANT, stream=True):
        assert bench.turns.queue.counter(TENANT) == 5 + 2 * 3, "of which the engine told in the first event"
    bench.engine.stalls = False
    assert (await bench.post(CHAT, OTHER)).status_code == 200


async def test_requests_for_what_does_not_exist_count_too(bench: Bench) -> None:
    await allow(bench, requests_per_minute=2)
    statuses = [(await bench.post(CHAT, model=MISSING)).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
