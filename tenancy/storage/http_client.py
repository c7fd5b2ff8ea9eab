"""Asks one HTTP server on the event loop: a thread for each request costs four times what the request does.

The server's connections are kept and used again. What was cancelled or not answered has its connection closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from tenancy.platform.threads import REQUESTS, RESERVED, is_ahead

AT_A_TIME = 2 * REQUESTS
"""Under way at a time, which cost less here than where each has a thread."""
UNSIGNED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What would be said in each request beside what is signed."""


@dataclass(frozen=True)
class Answer:
    """``headers``: by their names in any case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


@dataclass
class _Pool:
    """Of one event loop."""

    session: ClientSession
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))
    reserved: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RESERVED))


@dataclass(eq=False)
class HttpClient:
    """``context``: whom it believes by TLS. ``connect_seconds``, ``answer_seconds``: so long it waits for a connection,
    and for an answer's next bytes.
    """

    context: ssl.SSLContext | None
    connect_seconds: float
    answer_seconds: float
    is_closed: bool = False
    _pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = field(default_factory=WeakKeyDictionary, repr=False)

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Send the request as it is, in its turn: one cancelled before that is never sent. None where there is no
        answer: it may have been obeyed.
        """
        pool = self._pool()
        async with pool.reserved if is_ahead() else pool.turns:
            if self.is_closed:
                return None
            try:
                asked = pool.session.request(
                    method, URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False
                )
                async with asked as answer:
                    return Answer(answer.status, answer.headers, await answer.read())
            except (ClientError, OSError):  # a TimeoutError too
                return None

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        if (pool := self._pools.get(loop)) is None:
            pool = self._pools[loop] = _Pool(self._session())
        return pool

    def _session(self) -> ClientSession:
        return ClientSession(
            connector=TCPConnector(limit=0, ssl=self.context or True),
            timeout=ClientTimeout(total=None, sock_connect=self.connect_seconds, sock_read=self.answer_seconds),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=UNSIGNED,
            auto_decompress=False,
        )

    async def aclose(self) -> None:
        """Ask for nothing more. Connections of other event loops end with these."""
        self.is_closed = True
        if (pool := self._pools.pop(asyncio.get_running_loop(), None)) is not None:
            await pool.session.close()
