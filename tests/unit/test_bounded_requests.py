"""What a stranger sends costs a server of ours no more than a constant: heads, trailers, requests ahead of answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK
from tenancy.service.connections import HEAD_BYTES, HEAD_LINES
from tests.fixtures.bounded_server import BOUND_SECONDS, BoundedServer, bounded_server

MIB = 1 << 20
SENT = 64 * MIB
GROWTH = 24 * MIB
CHUNKED = b"POST /headers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoundedServer]:
    with bounded_server(tmp_path_factory.mktemp("server")) as made:
        yield made


def connected(server: BoundedServer) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), timeout=BOUND_SECONDS)


def answer_of(peer: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    answer = b""
    with suppress(ConnectionError):
        while part := peer.recv(65_536):
            answer += part
    return answer


ENDLESS = {
    "url": (b"GET /", b"a" * 4096),
    "method": (b"G", b"E" * 4096),
    "header name": (b"GET / HTTP/1.1\r\n", b"a" * 4096),
    "header value": (b"GET / HTTP/1.1\r\nA: ", b"a" * 4096),
    "headers": (b"GET / HTTP/1.1\r\n", b"a:\r\n" * 1024),
    "long headers": (b"GET / HTTP/1.1\r\n", (b"a: " + b"b" * 2048 + b"\r\n") * 2),
    "blank lines": (b"\r\n", b"\r\n" * 2048),
    "chunk's head": (CHUNKED + b"1;a=", b"a" * 4096),
    "trailers": (CHUNKED + b"0\r\n", b"a:\r\n" * 1024),
    "trailer": (CHUNKED + b"0\r\nA: ", b"a" * 4096),
    "trailers of a request that nobody answers yet": (
        CHUNKED.replace(b"/headers", b"/wait") + b"0\r\n",
        b"a:\r\n" * 1024,
    ),
    "more after the last request": (HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"a" * 4096),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_does_not_end_is_refused_and_costs_no_memory(server: BoundedServer, what: str) -> None:
    start, more = ENDLESS[what]
    before = server.peak_bytes()
    with connected(server) as peer:
        peer.sendall(start)
        with pytest.raises(ConnectionError):
            for _ in range(SENT // len(more)):
                peer.sendall(more)
    assert server.peak_bytes() - before < GROWTH
    assert server.get("/") == (200, b"hello")


def head(length: int, lines: int = 0) -> bytes:
    """A request whose head is so long, and has so many headers at the least."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"a:\r\n" * max(0, lines - 3) + b"B: "
    return start + b"b" * max(0, length - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (head(HEAD_BYTES - 1024), b"200"),
        (head(HEAD_BYTES + 2048), b"431"),
        (head(0, HEAD_LINES - 1), b"200"),
        (head(0, HEAD_LINES + 1), b"431"),
        (b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n", b"431"),
        (CHUNKED + b"1;" + b"a" * (HEAD_BYTES + 2048) + b"\r\n", b"431"),
        (CHUNKED + b"1\r\na\r\n0\r\n" + b"A: b\r\n" * (HEAD_LINES + 1) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1 and more\r\n\r\n", b"400"),
    ],
)
def test_a_head_has_a_bound_in_bytes_and_in_lines(server: BoundedServer, request_bytes: bytes, status: bytes) -> None:
    with connected(server) as peer:
        peer.sendall(request_bytes)
        assert answer_of(peer).split(b" ")[1] == status


def test_a_body_of_many_chunks_is_no_head_however_long_it_is(server: BoundedServer) -> None:
    chunks = HEAD_BYTES
    with connected(server) as peer:
        peer.sendall(CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + b"1\r\na\r\n" * chunks)
        peer.sendall(b"2;more=b\r\nab\r\n0\r\n\r\n")
        assert answer_of(peer).rpartition(b"\r\n\r\n")[2].split(b" ")[0] == str(chunks + 2).encode()


def test_trailers_are_no_headers(server: BoundedServer) -> None:
    with connected(server) as peer:
        peer.sendall(CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + b"0\r\nAuthorization: Bearer x\r\n\r\n")
        assert answer_of(peer).rpartition(b"\r\n\r\n")[2] == b"0 connection host transfer-encoding"


def test_requests_that_are_sent_ahead_are_answered_one_after_another(server: BoundedServer) -> None:
    times = 3000
    with connected(server) as peer:
        peer.sendall(HELLO * times + HELLO.replace(b"Host", b"Connection: close\r\nHost"))
        assert answer_of(peer).count(b"hello") == times + 1


def test_a_whole_request_is_answered_before_what_follows_it_is_refused(server: BoundedServer) -> None:
    with connected(server) as peer:
        peer.sendall(HELLO + b"nonsense\r\n\r\n")
        answer = answer_of(peer)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")


def test_what_follows_a_request_for_another_protocol_is_no_request(server: BoundedServer) -> None:
    upgrade = b"POST /headers HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 28\r\n\r\n"
    with connected(server) as peer:
        peer.sendall(upgrade + HELLO * 100)
        answer = answer_of(peer)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"hello" not in answer


def test_requests_that_wait_for_the_answer_to_another_cost_little_more_than_their_bytes(tmp_path: Path) -> None:
    with bounded_server(tmp_path) as server:
        before = server.peak_bytes()
        peers = [connected(server) for _ in range(24)]
        for peer in peers:
            peer.sendall(b"POST /wait HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            peer.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    peer.send(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        assert server.get("/") == (200, b"hello")  # by then it has read what it reads
        assert server.peak_bytes() - before < len(peers) * 2 * MIB
        for peer in peers:
            peer.close()
