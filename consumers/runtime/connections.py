"""Connections that bring no request are closed: each holds a file descriptor, of which a process has few."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""So long a connection may take over the head of a request. uvicorn bounds only the silence after an answer, and a
byte now and then breaks that.
"""


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection on which no request is being answered must begin one within :data:`HEAD_SECONDS` to twice that.

    What an answer takes is not bounded here, and neither is the body of a request that is being answered.
    """

    cycle: Any
    """uvicorn's request and response, the latest of this connection: None before the first."""
    transport: asyncio.Transport
    _seen: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        latest = self.cycle
        is_idle = latest is None or latest.response_complete
        if is_idle and latest is self._seen:
            self.transport.close()
            return
        self._seen = latest if is_idle else None
        self._look_later()
