"""HTTP/1.1 by hand: whatever bytes an attacker likes, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

from deploy.local.ports import LOOPBACK

ANSWER_SECONDS = 120.0
_CHUNK = 65_536


@dataclass(frozen=True)
class Got:
    """What came back. ``status`` is None where the connection was closed without an answer."""

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Connection:
    """One connection to the replica."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> bool:
        """Whether it was taken; False once the other side has closed."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        return not self.writer.is_closing()

    async def is_closed(self, seconds: float) -> bool:
        """Whether the other side closes within this time, whatever it sends before."""
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(_CHUNK):
                    pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    async def answer(self, method: str = "GET", seconds: float = ANSWER_SECONDS) -> Got:
        """The next final answer. Raises ``TimeoutError`` where none comes."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "replica")]))
        parser.send(h11.EndOfMessage())
        status, headers, body = None, dict[str, str](), bytearray()
        async with asyncio.timeout(seconds):
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    try:
                        parser.receive_data(await self.reader.read(_CHUNK))
                    except OSError:
                        return Got(status, headers, bytes(body))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return Got(status, headers, bytes(body))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection, closed at the end without waiting for the other side."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def exchange(
    port: int, parts: Iterable[bytes], method: str = "GET", *, ends: bool = False, seconds: float = ANSWER_SECONDS
) -> Got:
    """Send the parts and take one answer. With ``ends`` the sending side is closed after the parts."""
    try:
        async with connected(port) as connection:
            for part in parts:
                if not await connection.send(part):
                    break
            if ends and connection.writer.can_write_eof():
                with suppress(OSError):
                    connection.writer.write_eof()
            return await connection.answer(method, seconds)
    except (ConnectionError, h11.RemoteProtocolError):
        return Got(None)


def request(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request with its length, on a connection that ends with the answer."""
    given = [("Host", "replica"), ("Connection", "close"), *headers, ("Content-Length", str(len(body)))]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
