"""Connections that bring no request are closed: each holds a file descriptor, of which a process has few."""

from __future__ import annotations

import asyncio
import fcntl
import termios
from array import array
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""So long a connection may take over the head of a request. uvicorn bounds only the silence after an answer, and a
byte now and then breaks that.
"""
STALLED_LOOKS = 6
"""So many looks in a row, of which one comes every :data:`HEAD_SECONDS`, a peer may leave what it was sent unread."""


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection on which no request is being answered must begin one within :data:`HEAD_SECONDS` to twice that.

    What an answer takes is not bounded here, and neither is the body of a request that is being answered. But a peer
    that takes nothing of what waits for it is cut off, also while its connection closes: what waits would keep it open.
    """

    cycle: Any
    """uvicorn's request and response, the latest of this connection: None before the first."""
    transport: asyncio.Transport
    _seen: Any = None
    _unread: int = 0
    _stalled: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = 0  # the peer has read, however much waits again at the next look

    def _look(self) -> None:
        is_closing, waiting = self.transport.is_closing(), self.transport.get_write_buffer_size()
        if is_closing and not waiting:
            return
        before, self._unread = self._unread, waiting + self._sent_and_unread()
        # Only where nothing more is written until the peer reads is it the peer's doing that nothing becomes less.
        is_full = is_closing or self.flow.write_paused
        self._stalled = self._stalled + 1 if is_full and self._unread >= before else 0
        if self._stalled >= STALLED_LOOKS:
            self.transport.abort()
            return
        self._look_later()
        if not is_closing:
            self._close_if_idle()

    def _sent_and_unread(self) -> int:
        """The bytes that the kernel holds. By them a slow reader is seen to move: the kernel takes more from the
        transport only once a third of its megabytes is free.
        """
        held = array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return held[0]

    def _close_if_idle(self) -> None:
        latest = self.cycle
        is_idle = latest is None or latest.response_complete
        if is_idle and latest is self._seen:
            self.transport.close()
            return
        self._seen = latest if is_idle else None
