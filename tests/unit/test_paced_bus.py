"""The proxy before the embedded bus waits where Kafka waits. The broker here answers every Fetch at once, empty."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import pytest
from aiokafka.protocol.fetch import FetchResponse_v4

from deploy.local.paced_bus import FETCH_API_KEY, PRODUCE_API_KEY, PacedBus
from deploy.local.ports import LOOPBACK, free_ports

METADATA_API_KEY = 3
HOUR_MS = 3_600_000


def request(api_key: int, correlation: int, max_wait_ms: int = 0, version: int = 4) -> bytes:
    body = struct.pack(">hhi", api_key, version, correlation) + struct.pack(">h4s", 4, b"test")
    body += struct.pack(">iiii", -1, max_wait_ms, 1, 1)
    return struct.pack(">i", len(body)) + body


def fetched(records: bytes = b"", error: int = 0) -> bytes:
    return bytes(FetchResponse_v4(0, [("t", [(0, error, 0, 0, [], records)])]).encode())


@dataclass
class Broker:
    """Answers with what ``fetch`` says; of everything else with the correlation id alone."""

    fetch: bytes = field(default_factory=fetched)
    asked: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while length := await reader.read(4):
                frame = await reader.readexactly(*struct.unpack(">i", length))
                api_key = int.from_bytes(frame[:2], "big")
                self.asked += api_key == FETCH_API_KEY
                answer = frame[4:8] + (self.fetch if api_key == FETCH_API_KEY else b"")
                writer.write(struct.pack(">i", len(answer)) + answer)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, frame: bytes) -> bytes:
        self.writer.write(frame)
        (length,) = struct.unpack(">i", await self.reader.readexactly(4))
        return await self.reader.readexactly(length)


@asynccontextmanager
async def bus(broker: Broker) -> AsyncIterator[int]:
    upstream, port = free_ports(2)
    async with await asyncio.start_server(broker.serve, LOOPBACK, upstream):
        paced = PacedBus(port, upstream, pace_seconds=0.0)
        serving = asyncio.create_task(paced.serve())
        try:
            yield port
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def client(port: int) -> Client:
    while True:
        try:
            return Client(*await asyncio.open_connection(LOOPBACK, port))
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


async def test_an_empty_answer_is_held_until_something_is_produced_by_anybody() -> None:
    broker = Broker()
    async with bus(broker) as port:
        consumer, producer = await client(port), await client(port)
        waiting = asyncio.create_task(consumer.ask(request(FETCH_API_KEY, 1, HOUR_MS)))
        while not broker.asked:
            await asyncio.sleep(0.01)
        await producer.ask(request(METADATA_API_KEY, 2))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await producer.ask(request(PRODUCE_API_KEY, 3))
        assert (await waiting)[:4] == struct.pack(">i", 1)
        await asyncio.sleep(0.1)
        assert broker.asked == 1


async def test_an_empty_answer_is_held_no_longer_than_its_request_allows() -> None:
    async with bus(Broker()) as port:
        assert await (await client(port)).ask(request(FETCH_API_KEY, 1, 20))


@pytest.mark.parametrize(
    ("answer", "version"),
    [(fetched(records=b"a record"), 4), (fetched(error=6), 4), (b"of a version that nobody knows here", 17)],
)
async def test_what_holds_a_record_or_an_error_passes_at_once(answer: bytes, version: int) -> None:
    async with bus(Broker(answer)) as port:
        got = await (await client(port)).ask(request(FETCH_API_KEY, 1, HOUR_MS, version))
        assert got[4:] == answer
