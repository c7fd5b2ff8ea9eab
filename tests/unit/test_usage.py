"""What tenants used: engine time is shared out, and each amount is reported once."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from inference.tenants.usage import UsageMeter, UsageReporter
from schemas.bus.events import UsageRecorded
from tenancy.bootstrap import assemble
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.errors import BusUnavailable
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId

TENANT, OTHER, PLAIN = (TenantId(name) for name in ("t1", "t10", "t2"))
BOUND_SECONDS = 30
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_engine_time_is_shared_by_the_requests_that_run() -> None:
    clock = Clock()
    meter = UsageMeter(clock)
    clock.now = 1000.0
    async with meter.running(TENANT):
        clock.now += 4
        async with meter.running(OTHER), meter.running(OTHER):
            clock.now += 3
        clock.now += 1
    clock.now += 50
    taken = meter.take()
    assert (taken[TENANT].engine_seconds, taken[OTHER].engine_seconds) == (6.0, 2.0)
    assert sum(amounts.engine_seconds for amounts in taken.values()) == 8.0, "idle time is nobody's"


async def test_a_request_that_still_runs_is_charged_up_to_each_report() -> None:
    clock = Clock()
    meter = UsageMeter(clock)
    async with meter.running(TENANT):
        clock.now += 4
        assert meter.take()[TENANT].engine_seconds == 4.0
        clock.now += 2
    assert meter.take()[TENANT].engine_seconds == 2.0


@dataclass
class Flaky(RecordingPublisher):
    """A bus that takes an event and whose answer is lost, or that takes none."""

    failing: int = 0
    takes_it: bool = False

    async def publish(self, event: Any) -> None:
        if self.failing:
            self.failing -= 1
            if self.takes_it:
                await super().publish(event)
            raise BusUnavailable("the bus did not acknowledge")
        await super().publish(event)

    async def publish_raw(self, message: RawMessage) -> None:
        raise AssertionError("usage is an event")


def _reporter(publisher: Flaky) -> tuple[UsageMeter, UsageReporter]:
    tenancy = assemble(MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test", lambda: NOW)
    meter = UsageMeter(lambda: 0.0)
    return meter, UsageReporter(meter, tenancy)


def _sums(publisher: Flaky) -> dict[str, tuple[int, int]]:
    """What the ledger makes of it, which counts an event once however often it comes."""
    once = {event.id: event for event in publisher.events}
    sums: dict[str, tuple[int, int]] = {}
    for event in once.values():
        assert isinstance(event.data, UsageRecorded)
        prompt, completion = sums.get(event.subject, (0, 0))
        sums[event.subject] = (prompt + event.data.prompt_tokens, completion + event.data.completion_tokens)
    return sums


@pytest.mark.parametrize("takes_it", [False, True])
@pytest.mark.parametrize("failing", range(5))
async def test_usage_is_reported_once_and_none_is_lost_when_the_bus_fails(failing: int, takes_it: bool) -> None:
    publisher = Flaky(failing=failing, takes_it=takes_it)
    meter, reporter = _reporter(publisher)
    for number, tenant in enumerate((TENANT, OTHER, PLAIN), start=1):
        meter.tokens(tenant, number, 10 * number)
    await reporter.report()
    meter.tokens(TENANT, 100, 0)
    for _ in range(failing + 1):
        await reporter.report()
    assert _sums(publisher) == {TENANT: (101, 10), OTHER: (2, 20), PLAIN: (3, 30)}
    before = len(publisher.events)
    await reporter.report()
    assert len(publisher.events) == before, "nothing is reported where nothing was used"


async def test_a_report_that_is_cut_off_is_made_whole_by_the_next() -> None:
    publisher = Flaky()
    meter, reporter = _reporter(publisher)
    meter.tokens(TENANT, 1, 1)
    meter.tokens(OTHER, 2, 2)
    taken = publisher.publish

    async def hangs(event: Any) -> None:
        await asyncio.Event().wait()

    publisher.publish = hangs  # type: ignore[method-assign]
    report = asyncio.create_task(reporter.report())
    await asyncio.sleep(0)
    report.cancel()
    await asyncio.gather(report, return_exceptions=True)
    publisher.publish = taken  # type: ignore[method-assign]
    await reporter.report()
    assert _sums(publisher) == {TENANT: (1, 1), OTHER: (2, 2)}


async def test_a_replica_that_stops_in_an_outage_says_so_and_waits_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher = Flaky()
    meter, reporter = _reporter(publisher)
    meter.tokens(TENANT, 1, 1)
    await reporter.close(BOUND_SECONDS)
    assert _sums(publisher) == {TENANT: (1, 1)}
    assert caplog.records == []

    async def hangs(event: Any) -> None:
        await asyncio.Event().wait()

    publisher.publish = hangs  # type: ignore[method-assign]
    meter.tokens(TENANT, 1, 1)
    meter.tokens(OTHER, 2, 2)
    async with asyncio.timeout(BOUND_SECONDS):
        await reporter.close(0.01)
    assert [(record.message, vars(record)["reports"]) for record in caplog.records] == [("usage not reported", 2)]


async def test_a_report_holds_what_waited_what_was_cached_embedded_and_searched_and_the_share_of_the_device() -> None:
    publisher = Flaky()
    meter, reporter = _reporter(publisher)
    meter.waited(TENANT, 0.25)
    meter.waited(TENANT, 0.5)
    meter.stepped(TENANT, 1.5, 32)
    meter.embedded(TENANT, 7)
    meter.searched(TENANT, 4)
    meter.searched(TENANT, 5)
    await reporter.report()
    [event] = publisher.events
    assert isinstance(event.data, UsageRecorded)
    assert (event.data.queue_seconds, event.data.gpu_seconds, event.data.cached_tokens) == (0.75, 1.5, 32)
    assert (event.data.embedding_tokens, event.data.retrievals, event.data.prompt_tokens) == (16, 2, 0)
