"""What costs an attacker little and a server much. Each is made for some seconds and says what was wrong by itself;
what it cost the replica is measured from outside: see ``test_resources.py``.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from deploy.local.ports import LOOPBACK
from tests.attack.forged_tokens import refused_by_the_api
from tests.attack.stand import DESCRIPTORS, PLAIN, WITH_ADAPTERS, Stand
from tests.attack.wire import Got, connected, exchange, request

HEAD_BYTES = 65_536
"""A head or a trailer may be this long."""
REFUSING = {400, 413, 414, 431, 503, None}
CHUNK = 16_384
ONE_MEBIBYTE = 2**20
LARGEST_BODY = 1_000_000
"""Just below what the API takes."""

Problems = list[str]


@dataclass(frozen=True)
class Attack:
    """``mebibytes``: so much more memory than before may the replica hold while it is attacked."""

    make: Callable[[Stand, float], Awaitable[Problems]]
    mebibytes: float = 64.0


# --- endless heads and trailers


def _on(port_of: Callable[[Stand], int], head: bytes, endless: bytes, connections: int) -> Attack:
    """Connections that begin with ``head`` and then send ``endless`` until they are cut off, which must be soon."""

    async def make(stand: Stand, seconds: float) -> Problems:
        problems: Problems = []

        async def one() -> None:
            sent, until = 0, time.monotonic() + seconds
            with suppress(OSError):
                async with connected(port_of(stand)) as connection:
                    taken = await connection.send(head)
                    while taken and time.monotonic() < until:
                        try:
                            async with asyncio.timeout(1.0):
                                taken = await connection.send(endless)
                        except TimeoutError:  # nothing is read any more, and the kernel's buffers are full
                            taken = not await connection.is_closed(0.5)
                        sent += len(endless)
                    if taken:
                        problems.append(f"{sent} bytes were taken and the connection is open still")

        await asyncio.gather(*(one() for _ in range(connections)))
        return problems

    return Attack(make)


def _api(stand: Stand) -> int:
    return stand.port


def _health(stand: Stand) -> int:
    return stand.health_port


_LINES = b"".join(b"X-%06d: %s\r\n" % (number, b"a" * 100) for number in range(CHUNK // 112))
_GET = b"GET /health/live HTTP/1.1\r\nHost: replica\r\n"
_CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: replica\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- connections


async def _idle(stand: Stand, seconds: float) -> Problems:
    """More connections than the replica has descriptors, which send nothing; a few of them half a head."""
    problems: Problems = []
    before = stand.log_bytes()
    sockets = [socket.socket() for _ in range(DESCRIPTORS + 150)]
    try:
        for number, each in enumerate(sockets):
            each.setblocking(False)
            with suppress(OSError):
                each.connect_ex((LOOPBACK, stand.port))
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        for each in sockets[::10]:
            with suppress(OSError):
                each.send(b"GET /v1/models HT")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            problems += await _probed(stand)
            await asyncio.sleep(0.5)
        if stand.descriptors() > DESCRIPTORS - 8:
            problems.append("no descriptors were kept in reserve")
    finally:
        for each in sockets:
            each.close()
    if (grown := stand.log_bytes() - before) > ONE_MEBIBYTE:
        problems.append(f"the log grew by {grown} bytes")
    return problems


async def _probed(stand: Stand) -> Problems:
    """An operator's probes of health and metrics."""
    try:
        if (status := (await stand.health(5.0)).status) != 200:
            return [f"a health probe got {status}"]
        metrics = await exchange(stand.health_port, [request("GET", "/metrics", [])], seconds=5.0)
    except (TimeoutError, OSError):
        return ["a health probe got no answer within 5 s"]
    return [] if metrics.status == 200 else [f"a scrape of the metrics got {metrics.status}"]


# --- slow readers

CUT_OFF_SECONDS = 120.0
"""Within so long of its turn at the engine a reader below the least rate is cut off."""
_DEAR = {"prompt": "Count:", "n": 8, "logprobs": 20, "max_tokens": 500, "ignore_eos": True, "stream": True}


async def _slow_readers(stand: Stand, seconds: float) -> Problems:
    """Streams with much to each token, read at 2 KB in 9 s: more than nothing, so that they are not seen as stalled.
    Where there is time for that, they are cut off.
    """
    problems: Problems = []
    before = stand.descriptors()
    sent = request("POST", "/v1/completions", [stand.bearer(PLAIN)], json.dumps({**_DEAR, "temperature": 1}).encode())

    async def read_slowly(each: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(each, (LOOPBACK, stand.port))
        await loop.sock_sendall(each, sent)
        with suppress(OSError):
            while await loop.sock_recv(each, 2048):
                await asyncio.sleep(9.0)

    async with AsyncExitStack() as stack:
        tasks = []
        for _ in range(10):
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.setblocking(False)
            tasks.append(asyncio.create_task(read_slowly(each)))
        await asyncio.sleep(seconds)
        if seconds >= CUT_OFF_SECONDS / 2:
            # Few have a turn at once; the others' time begins when one of those is cut off.
            least, since = stand.descriptors(), time.monotonic()
            while least > before + 2 and time.monotonic() - since < CUT_OFF_SECONDS:
                await asyncio.sleep(1.0)
                if (now := stand.descriptors()) < least:
                    least, since = now, time.monotonic()
            if least > before + 2:
                problems.append(f"{least - before} slow readers are read to still")
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [type(one).__name__ for one in ended if isinstance(one, Exception)]
    return problems + [f"a reader failed: {name}" for name in failed]


# --- dear requests that are cheap to make


def _bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies near the largest that is taken, of what there can be most of in it."""
    message = {"role": "user", "content": ""}
    yield "completions", b"[" * LARGEST_BODY
    yield "completions", b'{"prompt":' + b"[" * (LARGEST_BODY // 2) + b"]" * (LARGEST_BODY // 2 - 20) + b"}"
    yield "chat/completions", json.dumps({"messages": [message] * 28_000}, separators=(",", ":")).encode()
    parts = [{"type": "text", "text": ""}] * 34_000
    yield "chat/completions", json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()[:LARGEST_BODY]
    parts = parts[:28_000]
    yield "chat/completions", json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    yield "completions", json.dumps({"prompt": [1] * 300_000}).encode()
    yield "completions", json.dumps({"prompt": [[1]] * 150_000}).encode()
    yield "completions", json.dumps({"prompt": [""] * 240_000}).encode()
    yield "completions", json.dumps({"prompt": "a " * 400_000}).encode()
    yield "completions", json.dumps({"prompt": "\U0001f9ea" * 80_000}).encode()
    yield "completions", json.dumps({"prompt": "a", **{f"f{n}": n for n in range(60_000)}}).encode()
    yield "completions", json.dumps({"prompt": "a", "logit_bias": {str(n): 1 for n in range(80_000)}}).encode()
    yield "completions", json.dumps({"prompt": "a", "stop_token_ids": [1] * 300_000}).encode()
    yield "completions", json.dumps({"prompt": "a", "stop": ["a"] * 150_000}).encode()
    yield "completions", b'{"prompt":"a","max_tokens":' + b"9" * 900_000 + b"}"
    yield "completions", b'{"prompt":"' + b"\\u0061" * 160_000 + b'"}'


async def _dear_bodies(stand: Stand, seconds: float) -> Problems:
    """One after another; what each takes of the event loop is seen by the watch on it."""
    problems: Problems = []
    for route, body in _bodies():
        got = await exchange(
            stand.port, [request("POST", f"/v1/{route}", [stand.bearer(PLAIN)], body)], "POST", seconds=60.0
        )
        if got.status not in (200, 400, 413):
            problems.append(f"{body[:12]!r}… of {len(body)} bytes got {got.status}")
    return problems


async def _unknown_digests(stand: Stand, seconds: float) -> Problems:
    """Models that nobody has, by one tenant; another's is among them, and must sound the same."""
    names = [f"{number:064x}" for number in range(200)] + [stand.digests[WITH_ADAPTERS[1]]] * 20
    got = await _asked_for(stand, names)
    told = {(each.status, each.body) for each in got}
    return [] if len(told) == 1 and next(iter(told))[0] == 404 else [f"{sorted(status or 0 for status, _ in told)}"]


async def _asked_for(stand: Stand, names: list[str]) -> list[Got]:
    turns = asyncio.Semaphore(20)

    async def one(name: str) -> Got:
        async with turns:
            return await stand.ask(WITH_ADAPTERS[0], "completions", 60.0, prompt="a", max_tokens=1, model=name)

    return await asyncio.gather(*(one(name) for name in names))


async def _metrics_accept(stand: Stand, seconds: float) -> Problems:
    problems: Problems = []
    for accept in ("text/plain;version=x", "application/openmetrics-text;version=1e999", ";;;", "a" * 9_000, "\xff"):
        got = await exchange(stand.health_port, [request("GET", "/metrics", [("Accept", accept)])])
        if got.status not in (200, 400, 406):
            problems.append(f"{accept[:20]!r} got {got.status}")
    return problems


async def _dear_tokens(stand: Stand, seconds: float) -> Problems:
    """Tokens that no verifier may take, at the API itself."""
    problems: Problems = []
    for what, token in refused_by_the_api(stand.token_signer):
        body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
        sent = request("POST", "/v1/completions", [("Authorization", f"Bearer {token}")], body)
        got = await exchange(stand.port, [sent], "POST", seconds=30.0)
        if got.status not in (401, 400, 431):
            problems.append(f"{what} got {got.status}")
    return problems


# --- requests that ended the engine

POISONS: tuple[dict[str, object], ...] = (
    {"prompt": ["hello there my friend", "x y z w"], "max_tokens": 2, "echo": True, "logprobs": 1},
    {"prompt": "hello there my friend", "n": 2, "temperature": 1, "max_tokens": 2, "echo": True, "logprobs": 1},
    {"prompt": "hello there my friend", "max_tokens": 2, "echo": True, "logprobs": 1},
    {"prompt": "hello there my friend", "max_tokens": 0, "echo": True, "logprobs": 0},
    {"prompt": "hello there my friend", "max_tokens": 2, "echo": True, "logprobs": 5, "stream": True},
)


async def _poison(stand: Stand, seconds: float) -> Problems:
    """``echo`` with ``logprobs``, while another tenant's adapter is in the batch."""
    problems: Problems = []
    beside = asyncio.create_task(
        stand.ask(WITH_ADAPTERS[1], "completions", 120.0, prompt="Long:", max_tokens=60, ignore_eos=True)
    )
    await asyncio.sleep(0.3)
    for number, body in enumerate(POISONS):
        got = await stand.ask(WITH_ADAPTERS[0], "completions", 60.0, **body)
        if got.status != 400:
            problems.append(f"poison {number} got {got.status}")
    if (status := (await beside).status) not in (200, 503):
        problems.append(f"the tenant beside it got {status}")
    return problems


ATTACKS: dict[str, Attack] = {
    "endless header lines at the API": _on(_api, _GET, _LINES, 4),
    "endless header lines at the health port": _on(_health, _GET, _LINES, 4),
    "a header that does not end": _on(_api, _GET + b"X-Long: ", b"a" * CHUNK, 4),
    "a header's name that does not end": _on(_api, _GET, b"a" * CHUNK, 4),
    "an endless URL at the API": _on(_api, b"GET /", b"a" * CHUNK, 16),
    "an endless URL at the health port": _on(_health, b"GET /", b"a" * CHUNK, 16),
    "an endless method": _on(_api, b"", b"A" * CHUNK, 4),
    "endless trailers": _on(_api, _CHUNKED + b"2\r\n{}\r\n0\r\n", _LINES, 4),
    "an endless chunk extension": _on(_api, _CHUNKED + b"2;", b"a" * CHUNK, 4),
    "an endless body without a token": _on(_api, _CHUNKED, b"4000\r\n" + b"a" * CHUNK + b"\r\n", 4),
    "more idle connections than descriptors": Attack(_idle),
    "slow readers of dear streams": Attack(_slow_readers),
    "bodies that are dear to look at": Attack(_dear_bodies, mebibytes=128.0),
    "many unknown digests": Attack(_unknown_digests),
    "metrics in an impossible version": Attack(_metrics_accept),
    "tokens that are dear to refuse": Attack(_dear_tokens),
    "echo with logprobs": Attack(_poison),
}
