"""A replica that is asked to end while clients use it: two processes, and a load balancer before them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from tests.fixtures import draining_replica
from tests.fixtures.bounded_server import BOUND_SECONDS, BoundedServer, served
from tests.unit.api.replica import PLAIN, bearer

EVENTS = 150
"""Three seconds of a stream: the replica is asked to end in its midst."""


@dataclass
class Balancer:
    """Passes each connection on to one port. Where that refuses it, the caller's connection ends without a word."""

    to: int
    refused: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._pass_on, LOOPBACK, 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            replica = await asyncio.open_connection(LOOPBACK, self.to)
        except OSError:
            self.refused += 1
            writer.close()
            return
        await asyncio.gather(_copy(reader, replica[1]), _copy(replica[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while taken := await reader.read(65_536):
        writer.write(taken)
        await writer.drain()
    writer.close()


def is_ready(replica: BoundedServer) -> bool:
    status, body = replica.get("/health/ready", replica.health_port)
    return (status, json.loads(body)) == (200, {"ready": True})


async def until(is_right: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not await asyncio.to_thread(is_right):
            await asyncio.sleep(0.02)


def started(folder: Path, graceful_seconds: int = 60) -> AbstractContextManager[BoundedServer]:
    folder.mkdir()
    port, health_port = free_ports(2)
    arguments = (str(number) for number in (port, health_port, graceful_seconds))
    return served(port, health_port, folder / "log", draining_replica.__name__, *arguments)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[tuple[BoundedServer, BoundedServer]]:
    with started(tmp_path / "first") as first, started(tmp_path / "second") as second:
        yield first, second


async def asked(client: openai.AsyncOpenAI, events: int = EVENTS) -> Any:
    return await client.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "q"}], max_tokens=events, stream=True
    )


async def rest(stream: Any) -> str:
    return "".join([choice.delta.content async for event in stream for choice in event.choices])


@pytest.mark.slow
async def test_a_client_sees_nothing_of_a_replica_that_ends_while_another_takes_over(
    replicas: tuple[BoundedServer, BoundedServer],
) -> None:
    first, second = replicas
    await until(lambda: is_ready(first) and is_ready(second))
    balancer = Balancer(first.port)
    token = bearer(PLAIN)["Authorization"].removeprefix("Bearer ")
    async with (
        balancer.listening() as port,
        openai.AsyncOpenAI(base_url=f"http://{LOOPBACK}:{port}/v1", api_key=token) as client,
    ):
        begun = await asked(client)
        begins = (await anext(begun)).choices[0].delta.content
        first.process.terminate()
        await until(lambda: not accepts_connections(first.port))
        assert not await asyncio.to_thread(is_ready, first), "it is asked for its health while its stream goes on"

        # The balancer has not looked yet: a new connection is refused, and the client tries again by itself.
        new = asyncio.create_task(asked(client))
        await until(lambda: balancer.refused > 0)
        balancer.to = second.port

        assert begins + await rest(begun) == "x" * EVENTS
        assert await rest(await new) == "x" * EVENTS
    assert await asyncio.to_thread(first.process.wait, BOUND_SECONDS) == 0
    assert is_ready(second)


async def test_a_stream_that_goes_on_beyond_the_grace_period_is_cut_off_and_the_replica_ends(tmp_path: Path) -> None:
    token = bearer(PLAIN)["Authorization"].removeprefix("Bearer ")
    with started(tmp_path / "only", graceful_seconds=1) as replica:
        await until(lambda: is_ready(replica))
        url = f"http://{LOOPBACK}:{replica.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=token, max_retries=0) as client:
            stream = await asked(client, events=1_000_000)
            await anext(stream)
            replica.process.terminate()
            with pytest.raises((openai.APIError, httpx.HTTPError)):
                async with asyncio.timeout(BOUND_SECONDS):
                    await rest(stream)
        assert await asyncio.to_thread(replica.process.wait, BOUND_SECONDS) == 0
