"""Bounds what the peer of a connection may send, keep waiting and leave unread.

None of this needs a token, so none of it may cost more than a constant. Routes bound the bodies of their requests.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
import weakref
from array import array
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES = 65_536
"""Of a request line with its headers, of a chunk's head, and of the trailers: what is more is refused with 431."""
HEAD_LINES = 128
"""Headers of a request, and trailers: each costs far more memory than its bytes."""
PIECE = 1024
"""The parser is given so many bytes at a time, so that it is stopped soon after a bound: between two pieces."""
DRAINED_BYTES = 1_048_576
"""Of a body whose answer was given without it, so much is taken and dropped: closed at once, the connection would be
reset, and the answer lost with it.
"""
HEAD_SECONDS = 10.0
"""So long a connection may take over the head of a request. uvicorn bounds only the silence after an answer, and a
byte now and then breaks that.
"""
STALLED_LOOKS = 6
"""The looks, of which one comes every :data:`HEAD_SECONDS`, over which it is measured how fast a peer reads."""
LEAST_BYTES = 61_440
"""Of what waits for it a peer must take so many within :data:`STALLED_LOOKS` looks: 1 KiB/s over a minute."""

STRAIGHT = "sanolith.straight"
"""The ASGI extension whose ``write`` sends a piece of an answer without a turn of the event loop: :class:`Straight`."""

BUSY = b"every connection of this server is busy; try again"


class _TooLong(Exception):
    """Stops the parser."""


class Straight:
    """Writes a piece of an answer that has begun at once, as uvicorn writes a chunk; an ASGI ``send`` can only promise
    that. Nothing is written, and the call is False, while the peer is behind: then the application is to wait in
    ``send``. It holds no request in memory: that holds it.
    """

    def __init__(self, cycle: Any) -> None:
        self._cycle = weakref.ref(cycle)

    def __call__(self, piece: bytes) -> bool:
        cycle = self._cycle()
        if cycle is None or not cycle.response_started or cycle.response_complete or cycle.flow.write_paused:
            return False
        if not cycle.chunked_encoding or not piece:
            return False
        if not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True


class BoundedConnection(HttpToolsProtocol):
    """A connection on which no request is being answered must begin one within :data:`HEAD_SECONDS` to twice that.

    How long an answer takes is not bounded here, and neither is the body of a request that is being answered. But a
    peer that takes what waits for it more slowly than :data:`LEAST_BYTES` is cut off, also while its connection closes:
    what waits would keep it open. With ``limit`` connections open, a new one takes the place of the one that has been
    idle for longest; where all are being answered it gets 503.
    """

    limit = 1024
    cycle: Any
    """uvicorn's request and response, the latest of this connection: None before the first."""
    transport: asyncio.Transport
    _seen: Any = None
    _unread: int = 0  # when it began to be measured how fast the peer reads
    _looks: int = 0  # since then; 0 while nothing waits for the peer
    _answering: Any = None  # the cycle whose answer is due; those of pipelined requests wait in uvicorn's ``pipeline``
    _is_in_head: bool = True
    _length: int = 0  # of the head, the chunk's head or the trailers that are being read
    _lines: int = 0
    _drained: int = 0  # of a body that nobody waits for
    _is_deaf: bool = False  # nothing more is read: the connection closes when the answer that is due is given

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._unparsed = bytearray()
        self._idle_since = self.loop.time()
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self.limit:
            self._make_room()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None:  # uvicorn tells the latest only, which may be one that was pipelined
            _leave(self._answering)

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Read requests until one has to wait for the answer to another: each that waits costs far more memory parsed
        than as bytes, and a few bytes make one.
        """
        while self._unparsed and not self.pipeline and not self._is_deaf and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PIECE])
            del self._unparsed[:PIECE]
            self._length += len(piece)
            super().data_received(piece)
            if self._is_too_long() and not self._is_deaf and not self.transport.is_closing():
                self.send_400_response("")
        if self._is_deaf or self.transport.is_closing():
            self._unparsed.clear()
        elif self._unparsed:
            self.flow.pause_reading()

    def _is_too_long(self) -> bool:
        return self._length > HEAD_BYTES or self._lines > HEAD_LINES

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._lines = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        if self._lines > HEAD_LINES:
            raise _TooLong
        if self._is_in_head:  # trailers are dropped: uvicorn would add them to the headers that a route has looked at
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_too_long():
            raise _TooLong
        self._is_in_head, self._length, self._lines, self._drained = False, 0, 0, 0
        super().on_headers_complete()
        self.scope["extensions"] = {STRAIGHT: {"write": Straight(self.cycle)}}
        if not self.pipeline:
            self._answering = self.cycle
        if self.parser.should_upgrade():  # to what nothing here speaks: the parser has lost its place
            self.cycle.keep_alive, self._is_deaf = False, True

    def on_chunk_complete(self) -> None:
        self._length = 0

    def on_body(self, body: bytes) -> None:
        self._length -= len(body)
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > DRAINED_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._length = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        self._idle_since = self.loop.time()
        super().on_response_complete()
        self._parse()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read: with 431 where it is too long. An answer that is due to a whole request is given
        first, one that has been begun is cut off.
        """
        due = self._answering
        if due is not None and not due.more_body:
            due.keep_alive = False
            self.pipeline.clear()
            self._is_deaf = True
            return
        if due is None or not due.response_started:
            self._say(431 if self._is_too_long() else 400, b"the head of the request cannot be read, or is too long")
        if due is not None:
            _leave(due)
        self.transport.close()

    def _say(self, status: int, text: bytes, *headers: bytes) -> None:
        lines = (b"content-type: text/plain; charset=utf-8", b"content-length: %d" % len(text), b"connection: close")
        self.transport.write(STATUS_LINE[status] + b"\r\n".join((*headers, *lines, b"", text)))

    # --- how many there are

    def _is_idle(self) -> bool:
        return self._answering is None and not self.transport.get_write_buffer_size()

    def _make_room(self) -> None:
        others: list[Any] = [other for other in self.connections if other is not self]
        idle = [other for other in others if other._is_idle() and not other.transport.is_closing()]
        if idle:
            min(idle, key=lambda other: other._idle_since).transport.close()
        else:
            self._say(503, BUSY, b"retry-after: 5")
            self.transport.close()

    # --- what its peer leaves waiting

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._looks = 0  # the peer has read, however much waits again at the next look

    def _look(self) -> None:
        is_closing, waiting = self.transport.is_closing(), self.transport.get_write_buffer_size()
        if is_closing and not waiting:
            return
        # Only where nothing more is written until the peer reads does what is left tell how much it has read.
        is_full = is_closing or self.flow.write_paused
        if is_full and self._reads_too_slowly(waiting + self._sent_and_unread()):
            self.transport.abort()
            return
        if not is_full:
            self._looks = 0
        self._look_later()
        if not is_closing:
            self._close_if_idle()

    def _reads_too_slowly(self, unread: int) -> bool:
        if self._looks == STALLED_LOOKS:
            if self._unread - unread < LEAST_BYTES:
                return True
            self._looks = 0
        if not self._looks:
            self._unread = unread
        self._looks += 1
        return False

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


def _leave(cycle: Any) -> None:
    """Tell a request's application that its caller is gone; nothing more is written for it."""
    if not cycle.response_complete:
        cycle.disconnected = True
    cycle.message_event.set()
