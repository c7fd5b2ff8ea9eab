"""Answers an MLLP connection: a message is accepted only once Kafka has acknowledged what was made of it.

AA: it is on the bus, or holds no conversation. AR: it will never be taken as it is. AE: not now, send it again. The
answer's reason is a code. Nothing is remembered: a message that comes again is the same event again, and curation
sees that. A connection's messages are taken one after another, so a sender that goes too fast is slowed down by TCP.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from producers.sources.mllp.conversations import NoCandidate, control_id
from producers.sources.mllp.framing import FrameTooLarge, framed, frames
from producers.sources.mllp.message import Message, Unreadable, read_message, split_batch
from tenancy.errors import Refused, Transient
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.logs import SCOPE, error_location

logger = logging.getLogger(f"{SCOPE}.hl7")

MOST_MESSAGES = 10_000
"""Of a batch in one frame. A few bytes make a message, and an answer takes many more."""

HANDSHAKE_SECONDS = 5.0
"""Ends a TLS handshake that takes longer: a connection is counted after it only, and strangers could hold many."""

Take = Callable[[Message], Awaitable[None]]
"""Publishes what is made of a message. Raises NoCandidate, Refused and Transient."""


@dataclass(frozen=True)
class Limits:
    """What one sender may ask of the listener."""

    message_bytes: int = 1_048_576
    connections: int = 64
    idle_seconds: float = 300.0
    take_seconds: float = 60.0
    stop_seconds: float = 30.0


@dataclass
class Listener:
    """One tenant's messages."""

    take: Take
    limits: Limits = Limits()
    clock: Clock = utc_now
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _in_hand: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _is_stopping: bool = False

    @asynccontextmanager
    async def listening(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Listen, and say on which port. At the end finish and answer what is in hand, and take nothing more."""
        self._idle.set()
        handshake = None if tls is None else HANDSHAKE_SECONDS
        server = await asyncio.start_server(self._connected, host, port, ssl=tls, ssl_handshake_timeout=handshake)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self._is_stopping = True
            server.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.stop_seconds):
                    await self._idle.wait()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_stopping or len(self._connections) >= self.limits.connections:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # whatever was not answered comes again
        except Exception as error:
            logger.error("connection failed", extra={"error": error_location(error)})
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self.limits
        try:
            async for payload in frames(reader, limits.message_bytes, limits.idle_seconds):
                if self._is_stopping:
                    return
                self._in_hand += 1
                self._idle.clear()
                try:
                    for answer in await self.answers(payload):
                        writer.write(framed(answer))
                    async with asyncio.timeout(limits.idle_seconds):
                        await writer.drain()
                finally:
                    self._in_hand -= 1
                    if not self._in_hand:
                        self._idle.set()
        except FrameTooLarge as large:
            # The rest of it would be read as frames of its own: the connection ends with the answer.
            writer.write(framed(acknowledgement(_head(large.beginning), "AR", "message-too-large", self.clock())))
            async with asyncio.timeout(limits.idle_seconds):
                await writer.drain()

    async def answers(self, payload: bytes) -> list[bytes]:
        """One answer for each message of a frame. Never raises but when it is cancelled."""
        try:
            messages = split_batch(payload)
            if len(messages) > MOST_MESSAGES:
                raise Unreadable("too-many-messages")
        except Unreadable as error:
            return [acknowledgement(None, "AR", error.code, self.clock())]
        return [await self._answer(message) for message in messages]

    async def _answer(self, payload: bytes) -> bytes:
        message: Message | None = None
        code, reason = "AA", ""
        await asyncio.sleep(0)  # or a batch of what is read and refused would stop whatever else the process does
        try:
            message = read_message(payload)
            async with asyncio.timeout(self.limits.take_seconds):
                await self.take(message)
        except (Unreadable, NoCandidate, Refused) as error:
            code, reason = "AR", error.code
        except (Transient, TimeoutError):
            code, reason = "AE", "not-now"
        except Exception as error:
            logger.error("message failed", extra={"error": error_location(error)})
            code, reason = "AE", "internal-error"
        logger.info("answered", extra={"code": code, "reason": reason})
        return acknowledgement(message or _head(payload), code, reason, self.clock())


def acknowledgement(message: Message | None, code: str, reason: str, now: datetime) -> bytes:
    """An ACK with the control id of what it answers, as far as that could be read. It repeats nothing else."""
    said = control_id(message) if message is not None else ""
    answered = "".join(mark for mark in said if mark.isascii() and (mark.isalnum() or mark in "._-/ :"))[:199]
    head = f"MSH|^~\\&|sanolith||||{now:%Y%m%d%H%M%S}||ACK|{answered or 'none'}|P|2.5.1"
    return f"{head}\rMSA|{code}|{answered if answered == said else ''}|{reason}\r".encode()


def _head(payload: bytes) -> Message | None:
    """The first segment alone, of a message that cannot be read as a whole."""
    try:
        return read_message(payload.partition(b"\r")[0][:4096])
    except Unreadable:
        return None
