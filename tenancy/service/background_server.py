"""Runs work behind a server's routes, which answer while the work starts: alive, not ready."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.types import Lifespan

from tenancy.platform.logs import SCOPE, error_location, safe_message
from tenancy.service.connections import BoundedConnection
from tenancy.service.listeners import connection_limit, listeners, raise_descriptor_limit

logger = logging.getLogger(f"{SCOPE}.runtime")

FEW_CONNECTIONS = 64
"""Of a port that only the platform asks."""

Work = Callable[[], AbstractAsyncContextManager[None]]


class BackgroundWork:
    """A server binds its port only when its lifespan has begun, so the work is entered in a task of its own.

    The task is cancelled when the server stops, also while the work begins: what ``work`` has entered by then, it
    must leave.
    """

    def __init__(self, work: Work, on_failure: Callable[[], None] = lambda: None) -> None:
        self.has_failed = False
        self.on_failure = on_failure
        self._work = work

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(self._to_its_end(), name="work behind the server")
        # Not in a finally: a server that is forced to end has cancelled the task already.
        yield
        task.cancel()
        await asyncio.wait([task])

    async def _to_its_end(self) -> None:
        has_begun = False
        try:
            async with self._work():
                has_begun = True
                await asyncio.Event().wait()
        except Exception as error:
            self.has_failed = True
            if has_begun:
                logger.error("stop failed", extra={"error": error_location(error)})
            else:
                # It is about settings and models, and nothing of a tenant is there yet that it could quote; but for an
                # object that is not what it should be, which pydantic would quote.
                reason = safe_message(error) if isinstance(error, ValidationError) else str(error)
                logger.error("start failed", extra={"error": error_location(error), "reason": reason})
            self.on_failure()


@contextmanager
def _asked_to_end(stop: Callable[[], None]) -> Iterator[None]:
    """Hear SIGTERM and SIGINT before and after the server does. It raises what ended it once more for whoever heard it
    before, and by default that would end the process by the signal, with no word on whether the work could end.
    """
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Beside:
    """An application on an address of its own. It answers from before ``work`` begins until after that has ended, and
    however busy the other one is.
    """

    app: Starlette
    host: str
    port: int


def run_server(
    app: Callable[[Lifespan[Any]], Starlette],
    work: Work,
    *,
    host: str,
    port: int,
    graceful_seconds: int | None = None,
    connections: int = FEW_CONNECTIONS,
    beside: Beside | None = None,
    on_ending: Callable[[], None] = lambda: None,
    uvloop: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, with ``work`` behind the routes; ``app`` is given the lifespan. ``on_ending`` is
    called before the port is closed; answers that have begun are then waited for, ``graceful_seconds`` at most.

    At most ``connections`` are open at once. With ``uvloop`` it runs on that library's event loop, of which a turn
    costs less; it is there where vLLM is. Exits with status 1 when the work cannot begin or end, or an address cannot
    be bound, and returns otherwise.
    """
    raise_descriptor_limit()
    behind = BackgroundWork(work)
    first, second = _bound(host, port), _bound(beside.host, beside.port) if beside else []
    config = _config(app(behind.lifespan), connections, lifespan="on", timeout_graceful_shutdown=graceful_seconds)
    server = _First(config, on_ending)

    async def serve() -> None:
        if beside is None:
            await server.serve(first)
            return
        async with _serving(_Beside(_config(beside.app, FEW_CONNECTIONS, timeout_graceful_shutdown=1)), second):
            await server.serve(first)

    def stop() -> None:
        server.should_exit = True

    behind.on_failure = stop
    with _asked_to_end(stop):
        anyio.run(serve, backend_options={"use_uvloop": uvloop})
    if behind.has_failed:
        raise SystemExit(1)


def _bound(host: str, port: int) -> list[socket.socket]:
    try:
        return listeners(host, port)
    except OSError as error:
        logger.error(
            "start failed", extra={"error": error_location(error), "reason": f"{host}:{port}: {error.strerror}"}
        )
        raise SystemExit(1) from None


def _config(app: Starlette, connections: int, **more: Any) -> uvicorn.Config:
    limit = connection_limit(connections)
    return uvicorn.Config(
        app,
        http=type("Connection", (BoundedConnection,), {"limit": limit}),
        ws="none",  # its protocol would take over the connection, without any of the bounds
        log_config=None,
        log_level=logging.ERROR,  # what a stranger may cause by each malformed request is less
        access_log=False,
        **{"lifespan": "off", **more},
    )


class _First(uvicorn.Server):
    """Tells that it ends before it does."""

    def __init__(self, config: uvicorn.Config, on_ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ending = on_ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_ending()
        await super().shutdown(sockets)


class _Beside(uvicorn.Server):
    """Ends when it is told to: signals are the first server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _serving(server: uvicorn.Server, sockets: list[socket.socket]) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve(sockets), name="server beside the first")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task])
