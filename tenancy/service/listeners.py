"""Opens a server's listening sockets, within its file-descriptor limit."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import time
from contextlib import suppress
from typing import Any

from tenancy.platform.logs import SCOPE

logger = logging.getLogger(f"{SCOPE}.runtime")

DESCRIPTORS = 65_536
"""The limit is raised to the hard one, and to no more than this: some programs that are started go through them all."""
RESERVED_DESCRIPTORS = 192
"""That connections leave to others: 64 to the other port, 50 to a replica's own files and its engine, 36 each to the
object store and KMS, some to the brokers.
"""
FEWEST_CONNECTIONS = 16
ACCEPTED_AT_ONCE = 16
"""So many connections are accepted before those are counted; asyncio would accept all that wait."""
QUIET_SECONDS = 60.0

_EXHAUSTED = {errno.EMFILE, errno.ENFILE}


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files towards the hard one, as a server of many connections has to do by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_limit(wanted: int) -> int:
    """At most ``wanted`` connections, and fewer where the limit of open files leaves room for fewer."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(FEWEST_CONNECTIONS, soft - RESERVED_DESCRIPTORS))


def listeners(host: str, port: int) -> list[socket.socket]:
    """Bound to every address of ``host``. Raises ``OSError``.

    They listen already: only then does the system see that another has the port.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            made.append(Listener(family, kind, protocol))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind(address)
            made[-1].listen()
    except OSError:
        for listener in made:
            listener.close()
        raise
    return made


class Listener(socket.socket):
    """Accepts for asyncio's event loop, which calls :meth:`accept` as long as it raises nothing.

    Where no descriptor is left for a connection, the connection is closed: it takes the place of a descriptor that is
    kept for that. asyncio would write a log line, and plan to begin anew, for each of the 2,048 that may wait.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._turns = ACCEPTED_AT_ONCE
        self._spare: int | None = None
        self._said_at = float("-inf")
        self._keep_spare()

    def accept(self) -> tuple[socket.socket, Any]:
        if not self._turns:
            self._turns = ACCEPTED_AT_ONCE
            raise BlockingIOError  # as if none waited; asyncio looks again at its next turn
        self._turns -= 1
        try:
            return super().accept()
        except BlockingIOError:
            self._turns = ACCEPTED_AT_ONCE
            raise
        except OSError as error:
            if error.errno not in _EXHAUSTED or self._spare is None:
                self._turns = 0  # one line of asyncio's, which then waits a second
                raise
            self._turn_away()
            raise BlockingIOError from None

    def close(self) -> None:
        super().close()
        self._drop_spare()

    def _turn_away(self) -> None:
        self._drop_spare()
        with suppress(OSError):  # another thread has taken the descriptor, or the peer is gone
            super().accept()[0].close()
        self._keep_spare()
        if time.monotonic() - self._said_at >= QUIET_SECONDS:
            self._said_at = time.monotonic()
            logger.error("no file descriptor left for a connection")

    def _keep_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = None

    def _drop_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
