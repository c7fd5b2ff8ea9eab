"""Activates adapters as a script would: fetches one once for each of some servers of vLLM, and has it loaded."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from deploy.local.ports import accepts_connections, free_ports
from deploy.local.processes import Probe
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from tests.bench import plain_server
from tests.bench.drawn_adapters import Drawn
from tests.bench.installation import START_SECONDS, Installation
from tests.bench.serving import PEER_AT_ONCE, get_in_ranges

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_numbers = itertools.count(1)


@contextmanager
def servers(made: Installation, count: int) -> Iterator[list[int]]:
    """So many servers with a replica's engine; their ports, once all answer."""
    with ExitStack() as stack:
        ports = free_ports(count)
        started = [
            made.started(stack, f"server-{port}", [sys.executable, "-m", plain_server.__name__, str(port)])
            for port in ports
        ]
        for process, port in zip(started, ports, strict=True):
            process.wait_ready(_listening(port), START_SECONDS)
        yield ports


def _listening(port: int) -> Probe:
    return lambda: accepts_connections(port)


async def asked(client: httpx.AsyncClient, model: str) -> httpx.Response:
    """The answer to a short question for one token, which nobody asked before."""
    prompt = f"Case {next(_numbers)}:"
    answer = await client.post("/v1/completions", json={"model": model, "prompt": prompt, "max_tokens": 1})
    return answer.raise_for_status()


@dataclass
class Script:
    """Activates adapters on some servers, each of which has a folder of its own in ``memory``."""

    clients: Sequence[httpx.AsyncClient]
    client: S3Client
    bucket: str
    memory: Path
    _bytes: dict[str, int] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(PEER_AT_ONCE * len(self.clients), "script")

    def upload(self, name: str, drawn: Drawn) -> None:
        """The weights to the bucket as they are; the configuration lies in each server's folder already."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=drawn.weights)
        self._bytes[name] = len(drawn.weights)
        for number in range(len(self.clients)):
            folder = self._folder(number, name)
            folder.mkdir(parents=True)
            (folder / CONFIG_FILE).write_bytes(drawn.config)

    async def activated(self, name: str) -> float:
        """Milliseconds from GetObject until each server has answered with the adapter."""
        began = time.perf_counter()
        await asyncio.gather(*(self._on(number, name) for number in range(len(self.clients))))
        return (time.perf_counter() - began) * 1000

    async def _on(self, number: int, name: str) -> None:
        folder, client = self._folder(number, name), self.clients[number]
        weights = folder / WEIGHTS_FILE
        await asyncio.to_thread(
            get_in_ranges, self.client, self.bucket, name, self._bytes[name], weights, self._threads
        )
        told = await client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)})
        told.raise_for_status()
        await asked(client, name)

    def _folder(self, number: int, name: str) -> Path:
        return self.memory / f"server-{number}" / name
