"""A server answers while the work behind it begins, and ends with it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Lifespan

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from tenancy.service.background_server import Beside, Work, run_server

BOUND_SECONDS = 30


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def run(work: Work, port: int, uvloop: bool = False) -> None:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    routes = [Route("/", hello)]
    app = partial(_app, routes)
    run_server(app, work, host=LOOPBACK, port=port, uvloop=uvloop)


def _app(routes: list[Route], lifespan: Lifespan[Any]) -> Starlette:
    return Starlette(routes=routes, lifespan=lifespan)


async def answer(port: int) -> str:
    """What the server answers, as soon as it does."""
    transport = httpx.AsyncHTTPTransport(retries=8)  # half a second, doubled at each
    async with httpx.AsyncClient(transport=transport, timeout=BOUND_SECONDS, trust_env=False) as client:
        return (await client.get(f"http://{LOOPBACK}:{port}/")).text


@pytest.mark.parametrize(("uvloop", "loop"), [(False, "asyncio"), (True, "uvloop")])
def test_the_port_answers_while_the_work_begins_and_a_stop_then_leaves_what_was_entered(
    port: int, uvloop: bool, loop: str
) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        try:
            seen.append(await answer(port))
            seen.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(asyncio.Event().wait(), BOUND_SECONDS)
            seen.append("begun")
            yield
        finally:
            seen.append("left")

    run(work, port, uvloop)
    assert seen == ["hello", loop, "left"]


def test_work_that_has_begun_is_left_when_the_server_stops(port: int) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        signal.raise_signal(signal.SIGTERM)
        yield
        seen.append("never: it is cancelled where it waits")

    @asynccontextmanager
    async def whole() -> AsyncIterator[None]:
        try:
            async with work():
                seen.append("begun")
                yield
        finally:
            seen.append("left")

    run(whole, port)
    assert seen == ["begun", "left"]


@pytest.mark.parametrize("has_begun", [False, True])
def test_work_that_fails_ends_the_process_with_status_1_and_one_line(
    port: int, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        if not has_begun:
            raise ValueError("no such folder")
        try:
            signal.raise_signal(signal.SIGTERM)
            yield
        finally:
            raise ValueError("Frau Müller")

    with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as ended:
        run(work, port)
    assert ended.value.code == 1
    [line] = caplog.records
    said: dict[str, Any] = vars(line)
    assert (line.message, said.get("reason")) == (
        ("stop failed", None) if has_begun else ("start failed", "no such folder")
    )
    assert said["error"].startswith("ValueError at test_background_server.py:")
    assert "Müller" not in json.dumps(said, default=str)


@pytest.mark.parametrize("taken_by", ["another process", "itself"])
def test_a_port_that_is_taken_ends_the_process_with_status_1_and_one_line(
    port: int, taken_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        raise AssertionError("nothing begins")
        yield

    beside = Beside(Starlette(), LOOPBACK, port if taken_by == "itself" else free_ports(1)[0])
    with socket.socket() as other, caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as ended:
        if taken_by != "itself":
            other.bind((LOOPBACK, port))
            other.listen()
        run_server(lambda lifespan: Starlette(lifespan=lifespan), work, host=LOOPBACK, port=port, beside=beside)
    assert ended.value.code == 1
    [line] = caplog.records
    assert (line.message, vars(line)["reason"]) == ("start failed", f"{LOOPBACK}:{port}: Address already in use")


def test_the_application_beside_answers_from_before_the_work_begins_until_it_has_ended() -> None:
    port, other = free_ports(2)
    seen: list[str] = []

    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        seen.append(await answer(other))
        signal.raise_signal(signal.SIGTERM)
        try:
            yield
        finally:
            seen.append(await answer(other))

    beside = Beside(Starlette(routes=[Route("/", hello)]), LOOPBACK, other)
    run_server(lambda lifespan: Starlette(lifespan=lifespan), work, host=LOOPBACK, port=port, beside=beside)
    assert seen == ["hello", "hello"]
    assert not accepts_connections(other)


ENDING = """
    import atexit
    import signal
    from contextlib import asynccontextmanager
    from starlette.applications import Starlette
    from tenancy.service.background_server import run_server

    @asynccontextmanager
    async def work():
        try:
            for _ in range({times}):
                signal.raise_signal(signal.{name})
            yield
        finally:
            print("left")
            if {fails}:
                raise ValueError("cannot stop")

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    atexit.register(print, "ended by itself")
    run_server(lambda lifespan: Starlette(lifespan=lifespan), work, host="{host}", port={port})
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "as it was before"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_is_asked_to_end_says_by_its_status_whether_it_could(
    port: int, name: str, times: int, fails: bool
) -> None:
    """A real process: what asked it to end is raised once more when the server is over, and would end it by default."""
    code = textwrap.dedent(ENDING).format(name=name, times=times, fails=fails, host=LOOPBACK, port=port)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND_SECONDS)
    assert (done.returncode, done.stdout.split("\n")) == (int(fails), ["left", "ended by itself", ""]), done.stderr
