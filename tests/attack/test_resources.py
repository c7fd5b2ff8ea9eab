"""What each attack on memory, connections and the event loop costs the whole replica, measured from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.attack.conftest import Size
from tests.attack.resource_attacks import ATTACKS
from tests.attack.stand import BACK_SECONDS, PLAIN, WITH_ADAPTERS, Stand

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]

PROBE_SECONDS = 10.0
"""A probe that is answered later than this counts as failed, as it does for most operators."""
LOG_BYTES = 2**20
LEFT_OPEN = 16
"""So many descriptors more than before may be open after an attack: pools of connections to store and bus grow."""


@dataclass
class Cost:
    """The most that the replica held more than before, and probes of its health that failed."""

    mebibytes: float = 0.0
    failed_probes: int = 0


@asynccontextmanager
async def measured(stand: Stand) -> AsyncIterator[Cost]:
    """Look at the replica ten times a second, and probe its health, as long as the context lasts."""
    cost, before = Cost(), stand.resident_mebibytes()

    async def look() -> None:
        while True:
            cost.mebibytes = max(cost.mebibytes, stand.resident_mebibytes() - before)
            await asyncio.sleep(0.1)

    async def probe() -> None:
        while True:
            try:
                status = (await stand.health(PROBE_SECONDS)).status
            except (TimeoutError, OSError):
                status = None
            cost.failed_probes += status != 200
            await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(look()), asyncio.create_task(probe())]
    try:
        yield cost
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_costs_the_replica_no_more_than_it_can_bear(replica: Stand, size: Size, name: str) -> None:
    attack = ATTACKS[name]
    began, engines, log, open_before = time.monotonic(), replica.engines(), replica.log_bytes(), replica.descriptors()
    async with measured(replica) as cost:
        problems = await attack.make(replica, size.seconds)
    problems += [f"a stall: {gap}" for gap in replica.gaps(began) if gap.is_stall]
    if cost.mebibytes > attack.mebibytes:
        problems.append(f"it held {cost.mebibytes:.0f} MiB more")
    if cost.failed_probes:
        problems.append(f"{cost.failed_probes} probes of its health failed")
    if replica.log_bytes() - log > LOG_BYTES:
        problems.append(f"its log grew by {replica.log_bytes() - log} bytes")
    if replica.engines() != engines:
        problems.append("its engine ended")
    for tenant in (PLAIN, WITH_ADAPTERS[0]):
        if (got := await replica.served(tenant, 60.0)).status != 200:
            problems.append(f"{tenant} is not served afterwards: {got.status}")
    await asyncio.sleep(0.5)
    if (left := replica.descriptors() - open_before) > LEFT_OPEN:
        problems.append(f"{left} descriptors were left open")
    print(f"\n{name}: at most {cost.mebibytes:.0f} MiB more")
    assert problems == []


async def statuses_until_served(stand: Stand) -> tuple[set[int | None], set[str | None]]:
    """Ask until there is an answer; the statuses before it, and what each 503 said of when to come again."""
    statuses: set[int | None] = set()
    retry: set[str | None] = set()
    until = time.monotonic() + BACK_SECONDS
    while time.monotonic() < until:
        got = await stand.ask(PLAIN, "completions", 60.0, prompt="The liver", max_tokens=1)
        if got.status == 200:
            return statuses, retry
        statuses.add(got.status)
        if got.status == 503:
            retry.add(got.headers.get("retry-after"))
        await asyncio.sleep(0.5)
    raise AssertionError(f"the replica does not come back: {statuses}")


def kill(stand: Stand) -> frozenset[int]:
    """The engine's processes, as if it had crashed."""
    killed = stand.engines()
    assert killed, "or there is no engine to kill"
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return killed


@pytest.mark.attack_long
async def test_an_engine_that_dies_comes_back_by_itself_and_its_replica_says_503_meanwhile(replica: Stand) -> None:
    process, killed = replica.process.pid, kill(replica)
    statuses, retry = await statuses_until_served(replica)
    assert statuses <= {503}
    assert None not in retry, "each says when to come again"
    assert replica.process.is_running()
    assert replica.process.pid == process
    assert not replica.engines() & killed
    for tenant in WITH_ADAPTERS:
        got = await replica.served(tenant)
        assert (got.status, got.headers["x-sano-adapter"]) == (200, replica.digests[tenant]), "loaded again on demand"


@pytest.mark.attack_long
async def test_a_request_that_was_there_at_two_deaths_in_a_row_is_refused_and_others_are_served(
    replica: Stand,
) -> None:
    poison = {
        "prompt": "A request that is taken for the cause",
        "max_tokens": 400,
        "ignore_eos": True,
        "temperature": 0,
    }
    for _ in range(2):
        assert (await replica.served(WITH_ADAPTERS[0])).status == 200  # its adapter is loaded: it begins at once
        asking = asyncio.create_task(replica.ask(WITH_ADAPTERS[0], "completions", BACK_SECONDS, **poison))
        await asyncio.sleep(1.0)
        assert not asking.done(), "or it was not in flight"
        kill(replica)
        assert (await asking).status in (503, 500, None)
        await statuses_until_served(replica)
    again = await replica.ask(WITH_ADAPTERS[0], "completions", BACK_SECONDS, **poison)
    assert again.status is not None
    assert 400 <= again.status < 500, again.status
    other = await replica.served(WITH_ADAPTERS[0])
    assert other.status == 200, "another request of the same tenant"
    theirs = await replica.ask(PLAIN, "completions", BACK_SECONDS, **{**poison, "max_tokens": 2})
    assert theirs.status == 200
