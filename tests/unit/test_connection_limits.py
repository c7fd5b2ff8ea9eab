"""Connections stay below the limit of open files, and the platform's port answers whatever the other one holds."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK
from tenancy.service.listeners import RESERVED_DESCRIPTORS
from tests.fixtures.bounded_server import BOUND_SECONDS, BoundedServer, bounded_server

WAIT = b"POST /wait HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


def connected(server: BoundedServer, count: int, held: ExitStack, port: int | None = None) -> list[socket.socket]:
    address = (LOOPBACK, port or server.port)
    return [held.enter_context(socket.create_connection(address, timeout=BOUND_SECONDS)) for _ in range(count)]


def until(peer: socket.socket, wanted: bytes) -> None:
    """Read until that has come."""
    got = b""
    while wanted not in got:
        part = peer.recv(65_536)
        assert part, got
        got += part


@pytest.fixture
def held() -> ExitStack:
    return ExitStack()


def test_idle_connections_beyond_the_descriptors_keep_nobody_out(tmp_path: Path, held: ExitStack) -> None:
    with bounded_server(tmp_path, soft=128, hard=256, connections=10_000) as server, held:
        connected(server, 400, held)
        for _ in range(5):
            assert server.get("/health", server.health_port) == (200, b"256"), "its soft limit is the hard one"
            assert server.get("/") == (200, b"hello")
        assert server.descriptors() < 256 - RESERVED_DESCRIPTORS // 2
        connected(server, 400, held, server.health_port)
        assert server.get("/health", server.health_port) == (200, b"256")
        assert server.log.read_bytes() == b""


def test_a_port_whose_connections_are_all_being_answered_says_so_and_the_other_answers(
    tmp_path: Path, held: ExitStack
) -> None:
    with bounded_server(tmp_path, connections=30) as server, held:
        busy = connected(server, 30, held)
        for peer in busy:
            peer.sendall(WAIT)
        while server.get("/waiting", server.health_port) != (200, b"30"):
            continue
        assert server.get("/") == (503, b"every connection of this server is busy; try again")
        assert server.get("/health", server.health_port)[0] == 200
        until(connected(server, 1, held)[0], b"retry-after: 5")
        busy.pop().close()
        while server.get("/go", method="POST")[0] == 503:
            continue  # it is not seen to be closed yet
        until(busy[0], b"waited")


def test_where_no_descriptor_is_left_a_connection_is_closed_and_one_line_says_so(
    tmp_path: Path, held: ExitStack
) -> None:
    with bounded_server(tmp_path, soft=256, hard=256) as server, held:
        inside = connected(server, 1, held)[0]
        inside.sendall(b"POST /eat HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        until(inside, b"\r\n\r\n2")
        for peer in connected(server, 300, held):
            assert peer.recv(1) == b"", "it is closed at once"
        inside.sendall(b"POST /free HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        until(inside, b"freed")
        assert server.get("/") == (200, b"hello")
        lines = server.log.read_text().splitlines()
    assert [("no file descriptor left for a connection" in line) for line in lines] == [True]
