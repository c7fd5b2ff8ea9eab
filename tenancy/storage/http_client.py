"""Asks one HTTP server on the event loop: a thread for each request costs four times what the request does.

A connection carries one request at a time and is used again, the latest first. What was cancelled or not answered has
its connection closed: what may still come on it belongs to nobody.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from weakref import WeakKeyDictionary

import httptools

from tenancy.platform.threads import REQUESTS, RESERVED, is_ahead

AT_A_TIME = 2 * REQUESTS
"""Under way at a time, which cost less here than where each has a thread."""


@dataclass(frozen=True)
class Answer:
    """``headers``: by their names in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class _Connection(asyncio.Protocol):
    def __init__(self, bound_seconds: float) -> None:
        self._bound_seconds = bound_seconds
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._asked: asyncio.Future[Answer | None] | None = None

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.abort()

    async def ask(self, request: bytes) -> Answer | None:
        """The answer; None where the connection closes before it is whole, or brings nothing for too long."""
        loop = asyncio.get_running_loop()
        self._asked, self._heard_at = loop.create_future(), loop.time()
        self._transport.write(request)
        self._watch(self._bound_seconds)
        try:
            return await self._asked
        finally:
            self._timer.cancel()
            self._asked = None

    def _watch(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        left = self._heard_at + self._bound_seconds - asyncio.get_running_loop().time()
        if left > 0:
            self._watch(left)
        else:
            self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(None)

    def data_received(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_begin(self) -> None:
        if self._asked is None or self._asked.done():
            self.close()  # nobody has asked
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return  # the answer is still to come
        if not self._parser.should_keep_alive():
            self.close()
        self._tell(Answer(status, self._headers, b"".join(self._body)))

    def _tell(self, answer: Answer | None) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(answer)


@dataclass
class _Pool:
    """Of one event loop."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))
    reserved: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RESERVED))
    idle: list[_Connection] = field(default_factory=list)


@dataclass(eq=False)
class HttpClient:
    """``connect_seconds``, ``answer_seconds``: so long it waits for a connection, and for an answer's next bytes."""

    host: str
    port: int
    context: ssl.SSLContext | None
    connect_seconds: float
    answer_seconds: float
    is_closed: bool = False
    _pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = field(default_factory=WeakKeyDictionary, repr=False)

    async def ask(self, request: bytes) -> Answer | None:
        """Send the request, in its turn: one cancelled before that is never sent. None where there is no answer: it may
        have been obeyed.
        """
        pool = self._pools.setdefault(asyncio.get_running_loop(), _Pool())
        async with pool.reserved if is_ahead() else pool.turns:
            connection = None if self.is_closed else await self._connected(pool.idle)
            if connection is None:
                return None
            answer = None
            try:
                answer = await connection.ask(request)
            finally:
                if answer is None or self.is_closed:
                    connection.close()
            if connection.is_open:
                pool.idle.append(connection)
            return answer

    async def _connected(self, idle: list[_Connection]) -> _Connection | None:
        while idle:
            if (connection := idle.pop()).is_open:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_seconds):
                _, made = await loop.create_connection(
                    lambda: _Connection(self.answer_seconds), self.host, self.port, ssl=self.context
                )
        except OSError:  # a TimeoutError too
            return None
        return made

    def close(self) -> None:
        """Ask for nothing more. Connections of other event loops are closed with these."""
        self.is_closed = True
        with suppress(RuntimeError):  # no event loop is left
            for connection in self._pools.get(asyncio.get_running_loop(), _Pool()).idle:
                connection.close()
