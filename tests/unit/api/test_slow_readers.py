"""Readers that are slow or stop hold little of a replica's memory, and not for long."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from deploy.local.ports import LOOPBACK, free_ports
from inference.engine.errors import ReadTooSlowly
from inference.engine.unread import OWNER_BYTES
from inference.engine.vllm_errors import error_events
from inference.tenants.admission import TenantRequests
from tests.fixtures import bounded_replica
from tests.fixtures.bounded_replica import LARGE_EVENT, SMALL_EVENT
from tests.fixtures.bounded_server import BOUND_SECONDS, BoundedServer, served
from tests.unit.api.replica import BODIES, CHAT, OTHER, TENANT, USAGE, Bench, bearer, code

MIB = 1 << 20


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoundedServer]:
    port, health_port = free_ports(2)
    numbers, log = (str(port), str(health_port)), tmp_path_factory.mktemp("replica") / "log"
    with served(port, health_port, log, bounded_replica.__name__, *numbers) as made:
        told_until(made, lambda told: told["started"] == 1)
        yield made


def asking(replica: BoundedServer, **fields: Any) -> socket.socket:
    """A caller that has asked for a stream, and whose system takes little of what it does not read."""
    body = json.dumps({**BODIES[CHAT], "stream": True, **fields}).encode()
    head = [f"POST {CHAT} HTTP/1.1", f"Content-Length: {len(body)}", "Connection: close"]
    head += [f"{name}: {value}" for name, value in bearer(TENANT).items()]
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    peer.settimeout(BOUND_SECONDS)
    peer.connect((LOOPBACK, replica.port))
    peer.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return peer


def told_until(replica: BoundedServer, is_right: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    deadline = time.monotonic() + BOUND_SECONDS
    while True:
        told: dict[str, int] = json.loads(replica.get("/told", replica.health_port)[1])
        if is_right(told):
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def test_streams_that_nobody_reads_are_cut_off_before_they_hold_much(replica: BoundedServer) -> None:
    before = replica.peak_bytes()
    events = 64 * MIB // LARGE_EVENT
    peers = [asking(replica, max_tokens=events) for _ in range(12)]
    told = told_until(replica, lambda told: told["asked"] == len(peers) and not told["running"])
    assert 0 < told["charged"] < len(peers) * events // 4, "the generation of each was ended early, and is charged"
    assert told["unread"] == 0, "and what it had made is dropped"
    assert replica.peak_bytes() - before < OWNER_BYTES + len(peers) * 4 * MIB
    for peer in peers:
        peer.close()
    assert replica.log.read_bytes() == b""


def test_a_stream_that_is_read_is_whole_however_large_it_is(replica: BoundedServer) -> None:
    events, before = 64 * MIB // LARGE_EVENT, told_until(replica, lambda _: True)["charged"]
    with asking(replica, max_tokens=events, seed=1) as peer:
        length, last = 0, b""
        while part := peer.recv(MIB):
            length, last = length + len(part), (last + part)[-64:]
    assert length > events * SMALL_EVENT
    assert b"[DONE]" in last
    assert told_until(replica, lambda told: told["charged"] > before)["charged"] == before + events


def test_a_stream_whose_reader_takes_next_to_nothing_is_aborted_and_charged(replica: BoundedServer) -> None:
    """It makes little, so that the bound of bytes is far: what ends it is the rate."""
    before = told_until(replica, lambda _: True)["charged"]
    with asking(replica, max_tokens=10_000_000, seed=1) as peer:
        told_until(replica, lambda told: told["running"] == 1)
        peer.setblocking(False)
        deadline = time.monotonic() + BOUND_SECONDS
        while told_until(replica, lambda told: True)["running"]:
            with suppress(BlockingIOError, ConnectionResetError):  # nothing is there yet; it was aborted just now
                peer.recv(100)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert told_until(replica, lambda told: told["charged"] > before)["unread"] == 0


def test_what_a_slow_reader_is_told_is_an_error_and_the_end() -> None:
    event, done = error_events(ReadTooSlowly())
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == 408
    assert done == b"data: [DONE]\n\n"


# --- whole answers


class Caller:
    """Asks for a whole answer, and takes only the beginning of it until it is let."""

    def __init__(self, bench: Bench) -> None:
        self.takes, self.begun = asyncio.Event(), asyncio.Event()
        self.body = b""
        self.messages = [{"type": "http.request", "body": json.dumps(BODIES[CHAT]).encode(), "more_body": False}]
        headers = [(name.lower().encode(), value.encode()) for name, value in bearer(TENANT).items()]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
        app: Any = bench.app
        self.asking = asyncio.create_task(
            app({**scope, "root_path": "", "http_version": "1.1"}, self._sent, self._take)
        )

    async def _sent(self) -> MutableMapping[str, Any]:
        if self.messages:
            return self.messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def _take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.body += message["body"]
            self.begun.set()
            await self.takes.wait()


@pytest.fixture
def large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A replica whose answers have 200 kB, and that keeps half a megabyte of a tenant's."""

    async def answer(*_: Any, **__: Any) -> dict[str, Any]:
        return {"id": "x", "choices": ["x" * 200_000], "usage": USAGE}

    monkeypatch.setattr(bench.engine, "_answer", answer)
    bench.api.running = TenantRequests(4, whole_bytes=500_000)
    return bench


async def test_whole_answers_that_are_not_read_are_bounded_for_each_tenant(large: Bench) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        callers = [Caller(large) for _ in range(2)]
        for caller in callers:
            await caller.begun.wait()
            assert len(caller.body) < 100_000, "the server is given a piece of it"
        refused = await large.post(CHAT)
        assert (refused.status_code, code(refused), refused.headers["Retry-After"]) == (429, "answers_unread", "5")
        assert (await large.post(CHAT, OTHER)).status_code == 200
        for caller in callers:
            caller.takes.set()
            await caller.asking
            assert json.loads(caller.body)["choices"] == ["x" * 200_000]
        assert (await large.post(CHAT)).status_code == 200


async def test_one_answer_may_be_longer_than_what_is_kept_and_is_the_last_until_it_is_read(large: Bench) -> None:
    large.api.running = TenantRequests(4, whole_bytes=1000)
    async with asyncio.timeout(BOUND_SECONDS):
        caller = Caller(large)
        await caller.begun.wait()
        asked = large.meter.take()
        assert code(await large.post(CHAT)) == "answers_unread"
        assert (len(asked), large.meter.take()) == (1, {}), "nothing was asked of the engine for it"
        caller.takes.set()
        await caller.asking
        assert (await large.post(CHAT)).status_code == 200


async def test_an_answer_that_waits_to_be_read_is_one_of_its_tenants_requests(large: Bench) -> None:
    large.api.running = TenantRequests(1)
    async with asyncio.timeout(BOUND_SECONDS):
        caller = Caller(large)
        await caller.begun.wait()
        assert code(await large.post(CHAT)) == "too_many_requests"
        caller.asking.cancel()
        await asyncio.gather(caller.asking, return_exceptions=True)
        assert (await large.post(CHAT)).status_code == 200
