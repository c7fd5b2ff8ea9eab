"""Finds free TCP ports on 127.0.0.1."""

from __future__ import annotations

import random
import socket
from collections import deque
from pathlib import Path

LOOPBACK = "127.0.0.1"
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000
_DRAWN: deque[socket.socket] = deque(maxlen=512)
"""A UDP socket on the number of each port that this process drew, so that no other process draws it too. Servers bind
seconds after the draw. The kernel closes these with the process; 512 is more than one process uses at once."""


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nobody listens on now, and that no other process draws while this one lives.

    They lie below the range the kernel gives to outgoing connections: a server that is restarted on its port
    would otherwise find it taken by a client, and a client that retries a port in that range while the server is
    down can connect to itself. A program that does not draw here may still take a port before it is used; the
    server then fails to bind and says so.
    """
    highest = int(_EPHEMERAL_RANGE.read_text().split()[0]) - 1 if _EPHEMERAL_RANGE.exists() else 32_767
    found: list[int] = []
    for port in random.sample(range(_LOWEST, max(highest, _LOWEST + 1_000)), 1_000):
        if len(found) == count:
            return found
        if _is_free(port) and _is_ours(port):
            found.append(port)
    raise OSError(f"fewer than {count} free ports between {_LOWEST} and {highest}")


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _is_ours(port: int) -> bool:
    held = socket.socket(type=socket.SOCK_DGRAM)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        return False
    _DRAWN.append(held)
    return True
