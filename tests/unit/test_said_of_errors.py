"""Invariant 9 for errors of others: their texts may quote what they failed on, and are in no line of a log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from schemas.base.contract import read_tolerant
from schemas.objects.replicas import ReplicaRecord
from tenancy.errors import Refused, StoreUnavailable
from tenancy.platform.logs import safe_message
from tenancy.service.background_server import BackgroundWork
from tenancy.service.periodic import Periodic
from tenancy.service.telemetry import configure_logging

CONTENT = "Frau Müller"
RECORD = json.dumps({"replica_id": CONTENT})


@contextmanager
def logging_of_a_service() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("sanolith")
    before = root.handlers[:], root.level, own.level
    configure_logging("test")
    try:
        yield
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        own.setLevel(before[2])


async def read() -> None:
    read_tolerant(ReplicaRecord, RECORD)


async def refused() -> None:
    raise Refused("object-store-refused", "refused: the object store answered 403")


@pytest.mark.parametrize(("work", "reason"), [(read, "ValidationError at "), (refused, "refused: the object store")])
async def test_periodic_work_that_fails_says_our_own_texts_and_of_others_where_they_came_from(
    work: Callable[[], Awaitable[None]], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()

    async def once() -> None:
        try:
            await work()
        finally:
            failed.set()

    periodic = Periodic("replica lease", 3600.0, once)
    periodic.start()
    await failed.wait()
    await periodic.stop()
    [line] = caplog.records
    assert line.getMessage() == "replica lease failed"
    assert vars(line)["reason"].startswith(reason)
    assert CONTENT not in str(vars(line))


async def test_a_start_that_fails_on_an_object_that_is_no_record_does_not_quote_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        await read()
        yield

    failed = asyncio.Event()
    async with BackgroundWork(work, failed.set).lifespan(None):
        await failed.wait()
    [line] = caplog.records
    assert line.getMessage() == "start failed"
    assert CONTENT not in str(vars(line))


def test_an_exception_that_a_library_logs_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_of_a_service():
        try:
            raise ValueError(CONTENT)
        except ValueError:
            logging.getLogger("a library").exception("it failed")
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "it failed"
    assert line["exc_info"].startswith("ValueError at test_said_of_errors.py:")


def test_what_is_said_of_an_error() -> None:
    assert safe_message(StoreUnavailable("the object store is out of reach")) == "the object store is out of reach"
    assert CONTENT not in safe_message(KeyError(CONTENT))
