"""A server that streams answers, as a process of its own, and a caller that counts nothing but what comes."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from tests.bench.stand import child_environment
from tests.bench.streaming_server import OURS, WITH_BUS
from tests.unit.api.replica import TENANT, bearer

START_SECONDS = 240.0
ANSWER_SECONDS = 120.0
OUR_WORK = "token, tenant's state, rates, fair queue, adapter, vLLM's serving class, usage, bounds on unread events."
PEER_WORK = "its routes, its serving class, uvicorn on uvloop; no access log, no statistics."
_numbers = itertools.count(1)
CREDENTIAL = bearer(TENANT)
"""One token for all requests, as an application has it."""


@dataclass(frozen=True)
class Server:
    """One side, as a process of its own. ``model`` is what is asked of it where nothing else is."""

    port: int
    pid: int
    model: str

    def used(self) -> float:
        """Processor time of the whole process, its threads too, in seconds. By the kernel's clock of it, which counts
        nanoseconds: psutil's counts hundredths.
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    async def stream(self, tokens: int, model: str | None = None) -> float:
        """Read one answer to its end. Returns when its first text came, in seconds from the connection on."""
        return (await self.texts(tokens, model))[0]

    async def texts(self, tokens: int, model: str | None = None) -> list[float]:
        """Read one answer to its end. Returns when each piece of it came, in seconds from the connection on, from that
        with the first text on.
        """
        body = json.dumps(
            {
                "model": model or self.model,
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
            *(f"{name}: {value}" for name, value in CREDENTIAL.items()),
        ]
        started, came = time.perf_counter(), list[float]()
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
            writer.write("\r\n".join((*head, "", body)).encode())
            answer = bytearray()
            while part := await reader.read(65_536):
                answer += part
                if came or answer.count(b"data: {") > 1:  # the first only names the role
                    came.append(time.perf_counter() - started)
            writer.close()
        if not answer.startswith(b"HTTP/1.1 200") or b"data: [DONE]" not in answer or not came:
            raise RuntimeError(f"the answer was not streamed: {bytes(answer[:300])!r}")
        return came


@contextmanager
def served(side: str, base_model: Path, folder: Path, adapter: Path | None = None, **settings: str) -> Iterator[Server]:
    """The side's process, from when it answers. With an adapter its engine is a real one; else it computes nothing."""
    folder.mkdir()
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tests.bench.streaming_server", side, str(base_model), str(port), str(folder)]
    if adapter is not None:
        argv.append(str(adapter))
    model = "active" if side in (OURS, WITH_BUS) else "base"
    with running(argv, port, model, folder / "server.log", **settings) as server:
        yield server


@contextmanager
def running(argv: list[str], port: int, model: str, log: Path, **settings: str) -> Iterator[Server]:
    """The server that this command starts, from when it answers."""
    with log.open("wb") as written:
        process = subprocess.Popen(argv, env=child_environment(**settings), stdout=written, stderr=written)
    try:
        server = Server(port, process.pid, model)
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
                    await server.stream(4)
                    return
                except (RuntimeError, OSError) as error:
                    if "503" not in str(error):
                        raise
            await asyncio.sleep(0.5)


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]
