"""Connections that bring no request do not stay, and those whose request is being answered do."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deploy.local.ports import LOOPBACK, free_ports
from tenancy.service import connections
from tenancy.service.background_server import run_server
from tenancy.service.connections import STRAIGHT, BoundedConnection

BOUND_SECONDS = 30
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every look at a connection, which come at once one after another."""
    seen: list[object] = []
    look = BoundedConnection._look

    def seen_look(connection: BoundedConnection) -> None:
        seen.append(connection)
        look(connection)

    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.01)
    monkeypatch.setattr(BoundedConnection, "_look", seen_look)
    return seen


@pytest.fixture
def _request_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is closed before its request has come, which may take a busy machine longer than the looks."""
    close = BoundedConnection._close_if_idle

    def close_after_a_request(connection: BoundedConnection) -> None:
        if connection.cycle is not None:
            close(connection)

    monkeypatch.setattr(BoundedConnection, "_close_if_idle", close_after_a_request)


def served(talk: Callable[[int], Awaitable[None]], answer: Callable[[Request], Awaitable[Response]]) -> None:
    """Run a server, ``talk`` to it on its port, and stop it."""
    port = free_ports(1)[0]

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                await talk(port)
        finally:
            signal.raise_signal(signal.SIGTERM)
        yield

    routes = [Route("/", answer, methods=["POST"])]
    run_server(lambda lifespan: Starlette(routes=routes, lifespan=lifespan), work, host=LOOPBACK, port=port)


async def refused(_: Request) -> PlainTextResponse:
    return PlainTextResponse("the body was not read", 401)


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.01)  # its port is not bound yet


def test_a_body_that_nobody_waits_for_is_taken_up_to_a_bound_and_not_for_as_long_as_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", BOUND_SECONDS)  # nothing else ends it
    taken: list[int] = []

    async def talk(port: int) -> None:
        reader, writer = await connected(port)
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        assert b" 401 " in await reader.readline()
        sent = 0
        with suppress(ConnectionError):
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        taken.append(sent)
        writer.close()

    served(talk, refused)
    assert connections.DRAINED_BYTES <= taken[0] < 64 * connections.DRAINED_BYTES, "and what the sockets hold"


@pytest.mark.parametrize(
    "sent", [b"", HEAD + b"A: ", HEAD + b"Content-Length: 1000000\r\n\r\n"], ids=["nothing", "head", "unread body"]
)
def test_a_connection_that_brings_no_request_is_closed_however_it_drips(sent: bytes) -> None:
    ended: list[bool] = []

    async def drip(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.001)

    async def talk(port: int) -> None:
        reader, writer = await connected(port)
        writer.write(sent)
        dripping = asyncio.create_task(drip(writer)) if sent else None
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            if dripping is not None:
                dripping.cancel()
        ended.append(True)

    served(talk, refused)
    assert ended == [True]


@pytest.mark.usefixtures("_request_comes")
def test_a_request_that_is_being_answered_keeps_its_connection(looks: list[object]) -> None:
    got: list[bytes] = []

    async def slow(_: Request) -> PlainTextResponse:
        async with asyncio.timeout(BOUND_SECONDS):
            while len(looks) < 5:
                await asyncio.sleep(0.001)
        return PlainTextResponse("answered")

    async def talk(port: int) -> None:
        reader, writer = await connected(port)
        writer.write(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        got.append(await reader.read(-1))
        writer.close()

    served(talk, slow)
    assert got[0].endswith(b"answered")


PIPELINED = HEAD + b"Content-Length: 0\r\n\r\n"


LARGE = 8_000_000  # more than the kernel holds for a connection


def small_peer(port: int) -> socket.socket:
    """Its system takes little of what it has not read."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    peer.connect((LOOPBACK, port))
    peer.setblocking(False)
    return peer


async def large(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * LARGE)


@pytest.mark.usefixtures("_request_comes")
@pytest.mark.parametrize("times", [1, 2], ids=["closing", "waiting"])
def test_a_peer_that_reads_nothing_does_not_hold_its_connection(looks: list[object], times: int) -> None:
    """After one answer its connection is idle and is closed, which ends only when the answer is sent; with many, the
    second answer waits to be sent.
    """
    held: list[int] = []

    async def talk(port: int) -> None:
        (await connected(port))[1].close()  # its port is bound
        with small_peer(port) as peer:
            peer.sendall(PIPELINED * times)
            while not any(is_full(each) for each in looks):
                await asyncio.sleep(0.001)
            connection: Any = next(each for each in looks if is_full(each))
            while connection in connection.connections:
                await asyncio.sleep(0.001)
            held.append(len(connection.connections))

    served(talk, large)
    assert held == [0]


def is_full(connection: Any) -> bool:
    return bool(connection.transport.get_write_buffer_size())


@pytest.mark.usefixtures("_request_comes")
def test_a_peer_that_reads_a_little_now_and_then_does_not_hold_its_connection_either(
    looks: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, peers, read = BoundedConnection._look, list[socket.socket](), [0]

    def read_too_little(connection: BoundedConnection) -> None:
        for peer in peers:
            with suppress(BlockingIOError, ConnectionError):
                read[0] += len(peer.recv(32_768))
        look(connection)

    monkeypatch.setattr(BoundedConnection, "_look", read_too_little)
    # Twice what it reads by then. On this machine's own network what is read is seen in steps of 64 KiB.
    monkeypatch.setattr(connections, "LEAST_BYTES", 2 * connections.STALLED_LOOKS * 32_768)

    async def talk(port: int) -> None:
        (await connected(port))[1].close()
        with small_peer(port) as peer:
            peer.sendall(PIPELINED * 2)
            peers.append(peer)
            while not any(is_full(each) for each in looks):
                await asyncio.sleep(0.001)
            connection: Any = next(each for each in looks if is_full(each))
            while connection in connection.connections:
                await asyncio.sleep(0.001)
            peers.clear()

    served(talk, large)
    assert 0 < read[0] < LARGE


@pytest.mark.usefixtures("_request_comes")
def test_a_peer_that_reads_slowly_is_not_cut_off(looks: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    peers: list[socket.socket] = []
    talked: list[int] = []
    taken = 0
    look = BoundedConnection._look

    def read_a_little(connection: BoundedConnection) -> None:
        nonlocal taken
        for peer in peers:
            with suppress(BlockingIOError):
                taken += len(peer.recv(65_536))
        look(connection)

    monkeypatch.setattr(BoundedConnection, "_look", read_a_little)

    async def talk(port: int) -> None:
        (await connected(port))[1].close()
        with small_peer(port) as peer:
            peer.sendall(PIPELINED * 2)
            peers.append(peer)
            while taken < LARGE // 4:
                await asyncio.sleep(0.001)
            peers.clear()
            connection: Any = looks[-1]
            assert connection in connection.connections
            assert is_full(connection)
            talked.append(len(looks))

    served(talk, large)
    assert talked[0] > 2 * connections.STALLED_LOOKS


@pytest.mark.usefixtures("_request_comes")
def test_a_request_whose_peer_leaves_is_told_so_also_where_another_was_sent_behind_it() -> None:
    told: list[str] = []

    async def until_told(request: Request) -> PlainTextResponse:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                told.append("left")
                return PlainTextResponse("to nobody")

    async def talk(port: int) -> None:
        _, writer = await connected(port)
        writer.write(PIPELINED * 2)
        await writer.drain()
        writer.close()
        while not told:
            await asyncio.sleep(0.001)

    served(talk, until_told)
    assert told == ["left"]


PIECE = b"p" * 65_536


class _Straight(Response):
    """Notes what became of pieces that it gives straight to the connection."""

    def __init__(self, said: list[tuple[str, bool]], is_behind: asyncio.Event) -> None:
        super().__init__()
        self._said, self._is_behind = said, is_behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        straight = scope["extensions"][STRAIGHT]["write"]
        self._said.append(("before the answer has begun", straight(b"never")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self._said.append(("an empty piece would end the answer", straight(b"")))
        self._said.append(("begun", straight(b"first")))
        await send({"type": "http.response.body", "body": b"second", "more_body": True})
        while straight(PIECE):
            pass  # until the peer, which reads nothing yet, is behind
        self._said.append(("the peer is behind", straight(b"never")))
        self._is_behind.set()
        await send({"type": "http.response.body", "body": b"last", "more_body": False})
        self._said.append(("ended", straight(b"never")))


@pytest.mark.usefixtures("_request_comes")
def test_a_piece_is_written_at_once_within_an_answer_whose_peer_keeps_up_and_not_at_all_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "STALLED_LOOKS", 1_000_000)  # nor is the peer cut off, however long this takes
    said, is_behind = list[tuple[str, bool]](), asyncio.Event()

    async def answer(_: Request) -> Response:
        return _Straight(said, is_behind)

    async def talk(port: int) -> None:
        reader, writer = await connected(port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await is_behind.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        sent = await reader.read()
        writer.close()
        chunks = sent.partition(b"\r\n\r\n")[2].split(b"\r\n")
        sizes, pieces = [int(size, 16) for size in chunks[:-1:2]], chunks[1::2]
        assert sizes == [len(piece) for piece in pieces]
        assert (pieces[:2], set(pieces[2:-2]), pieces[-2:]) == ([b"first", b"second"], {PIECE}, [b"last", b""])

    served(talk, answer)
    assert said == [
        ("before the answer has begun", False),
        ("an empty piece would end the answer", False),
        ("begun", True),
        ("the peer is behind", False),
        ("ended", False),
    ]


@pytest.mark.usefixtures("_request_comes")
def test_a_piece_of_an_answer_whose_length_was_told_is_left_to_the_server() -> None:
    class Told(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            assert not scope["extensions"][STRAIGHT]["write"](b"said")
            await send({"type": "http.response.body", "body": b"said", "more_body": False})

    async def answer(_: Request) -> Response:
        return Told()

    async def talk(port: int) -> None:
        reader, writer = await connected(port)
        writer.write(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).partition(b"\r\n\r\n")[2] == b"said"
        writer.close()

    served(talk, answer)
