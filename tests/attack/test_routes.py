"""Every route under thousands of requests that are right, nearly right, and odd, against the real engine."""

from __future__ import annotations

import asyncio
import string
import time
from collections import Counter
from random import Random

import pytest

from inference.engine import request_fields
from tests.attack.conftest import Size
from tests.attack.fuzzed_requests import NEAR, ROUTES, Requests, vllm_schema
from tests.attack.stand import PLAIN, WITH_ADAPTERS, Stand
from tests.attack.wire import Got, exchange
from tests.fixtures.markers import search

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(7200)]

AT_ONCE = 12
"""Requests that are under way together; with a health probe beside them."""
RESTARTS = 1
"""An engine that dies of a request may do so once in a run, and the replica then brings it back."""


def test_each_field_that_the_server_knows_has_values_here() -> None:
    known = request_fields._CHAT.keys() | request_fields._COMPLETION.keys()
    assert known | request_fields._SET_BY_SERVER | request_fields._IGNORED == NEAR.keys()


def test_the_fields_that_vllm_knows_are_more_than_those_that_are_allowed() -> None:
    for route in ROUTES:
        properties, _ = vllm_schema(route)
        assert len(properties.keys() - NEAR.keys()) > 25, "or nothing is drawn from vLLM's own models"


def test_a_request_is_drawn_from_its_seed_and_number_alone() -> None:
    requests = Requests(7, "marker", (("Authorization", "Bearer a.b.c"),), ("d" * 64,))
    assert [requests.make(number) for number in range(300)] == [requests.make(number) for number in range(300)]
    assert {requests.make(number).kind for number in range(300)} == {
        *("fields", "embeddings", "responses", "feedback", "honest", "body"),
        *("authorization", "route", "headers", "framing"),
    }


def marker_of(seed: int) -> str:
    """Letters that occur nowhere by chance. From the seed, so that requests are the same in each run."""
    return "".join(Random(f"marker/{seed}").choices(string.ascii_lowercase, k=24))


async def test_no_request_makes_a_5xx_but_503_ends_the_engine_stalls_the_loop_or_leaves_a_word_in_a_log(
    stand: Stand, size: Size, seed: int, pytestconfig: pytest.Config
) -> None:
    marker = marker_of(seed)
    tenants = (*WITH_ADAPTERS, PLAIN)
    callers = tuple(stand.bearer(tenant) for tenant in tenants)
    requests = Requests(seed, marker, callers, tuple(sorted(stand.digests.values())))
    only = pytestconfig.getoption("--attack-request")
    numbers = iter([int(only)] if only else range(size.requests))
    began, engines = time.monotonic(), stand.engines()
    answered: Counter[tuple[str, int | None]] = Counter()
    wrong: list[str] = []
    done = asyncio.Event()

    async def attack() -> None:
        for number in numbers:
            sent = requests.make(number)
            try:
                got = await exchange(stand.port, sent.parts, sent.method, ends=sent.ends)
            except TimeoutError:
                wrong.append(f"{seed}/{number} ({sent.kind}): no answer")
                continue
            answered[sent.kind, got.status] += 1
            if is_wrong(sent.kind, got):
                wrong.append(f"{seed}/{number} ({sent.kind}): {got.status}")

    async def probe() -> None:
        while not done.is_set():
            try:
                alive = (await stand.health()).status
            except TimeoutError:
                alive = None
            if alive != 200:
                wrong.append(f"a health probe got {alive}")
            await asyncio.sleep(0.5)

    probing = asyncio.create_task(probe())
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(attack())
    done.set()
    await probing

    took = time.monotonic() - began
    print(f"{answered.total()} requests in {took:.0f} s: {dict(sorted(answered.items(), key=str))}")
    wrong += [f"{tenant} is not served" for tenant in tenants if (await stand.served(tenant)).status != 200]
    await asyncio.sleep(3)  # until the last spans and metrics are exported
    said = [*stand.said(), await stand.metrics()]
    secrets = [marker, *map(str, tenants), *(value.rpartition(".")[2] for _, value in callers)]
    wrong += sorted({str(hit) for secret in secrets for hit in search(secret, said)})
    wrong += [f"a stall: {gap}" for gap in stand.gaps(began) if gap.is_stall]
    if len(new := stand.engines() - engines) > RESTARTS * len(engines):
        wrong.append(f"the engine was started anew: {len(new)} processes")
    assert wrong == [], "send one request alone by --attack-seed and --attack-request"
    if not only:
        honest = {status: count for (kind, status), count in answered.items() if kind == "honest"}
        assert honest.keys() <= {200, 503}, "an honest request is answered, or told to come again"
        assert honest[200] > honest.get(503, 0)


def is_wrong(kind: str, got: Got) -> bool:
    if got.status is None:
        return kind not in ("framing", "route", "headers")  # what is no HTTP may be closed without a word
    return got.status >= 500 and got.status != 503
