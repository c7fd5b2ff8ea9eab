"""Records, handlers and buses for tests of the runtime, and one attempt at a record."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from consumers.runtime.crash_loops import CrashLoopGuard
from consumers.runtime.dispatch import Dispatcher, Handler, OnDeadLetter
from consumers.runtime.handling import Handling
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Record
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.signatures import TRUSTING_NOBODY, Signatures
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.errors import Refused, StoreUnavailable
from tenancy.platform.clock import utc_now
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectStore
from tests.fixtures.records import record_of

POLICY = HandlingPolicy(
    deadline_seconds=2.0,
    attempts=3,
    backoff_seconds=0.0,
    redelivery_pause_seconds=0.0,
    deliveries=3,
    consecutive_failures_before_stop=3,
)
TELEMETRY = configure_telemetry("test", None)

PURGE = events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op")

Handle = Callable[[Event, Any], Awaitable[Outcome]]


@dataclass
class Raising:
    """A handler that raises each of these in turn, then has an effect."""

    errors: list[Exception]
    calls: int = field(default=0)

    async def __call__(self, event: Event, ports: Any) -> Outcome:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return Outcome.EFFECT


@dataclass(frozen=True)
class Result:
    """Whether the message is acknowledged, and what was published."""

    acknowledged: bool
    letters: list[RawMessage]
    outcomes: list[Outcome]


def a_record(data: events.EventData | None = None, **changed: Any) -> Any:
    granted = events.ConsentGranted(consent_id="c", version=1)
    made = Event(subject="t1", data=data or granted, time=utc_now(), source="/test")
    return record_of(made, **{"partition": 3, **changed})


def a_tenancy(publisher: RecordingPublisher, objects: ObjectStore | None = None) -> Tenancy:
    return assemble(objects or MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test")


class NothingGuarded(CrashLoopGuard):
    """For what crash loops are no part of."""

    @asynccontextmanager
    async def guarding(self, record: Record) -> AsyncIterator[None]:
        yield


async def delivered(
    handler: Handle,
    record: Any,
    publisher: RecordingPublisher | None = None,
    progress: Progress | None = None,
    service: str = "curation",
    redeliveries: Redeliveries | None = None,
    objects: ObjectStore | None = None,
    replica: str | None = None,
    tenancy: Tenancy | None = None,
    on_dead_letter: OnDeadLetter[None] | None = None,
    signatures: Signatures = TRUSTING_NOBODY,
) -> Result:
    """One attempt at a record."""
    made = tenancy or a_tenancy(publisher or RecordingPublisher(), objects)
    bus = cast(RecordingPublisher, made.publisher)
    handlers: dict[type[events.EventData], Handler[None]] = {
        events.ConsentGranted: handler,
        events.PurgeRequested: handler,
    }
    dispatcher = Dispatcher(service, handlers, made, None, TELEMETRY, POLICY, replica, on_dead_letter, signatures)
    handling = Handling(
        dispatcher,
        progress or Progress(60.0, 99),
        NothingGuarded("test", made, POLICY.ended_processes, lambda _: None),
        redeliveries or Redeliveries(POLICY.deliveries),
    )
    acknowledged = await handling.attempt_one(record)
    outcomes = [e.data.outcome for e in bus.events if isinstance(e.data, events.OutcomeRecorded)]
    return Result(acknowledged, bus.raw, outcomes)


class OutOfReach(MemoryObjectStore):
    """A store that reads and does not write, or the other way round."""

    def __init__(self, *, reads: bool, writes: bool) -> None:
        super().__init__()
        self.reads, self.writes = reads, writes

    async def exists(self, key: str) -> bool:
        if not self.reads:
            raise StoreUnavailable("the object store answered 503")
        return await super().exists(key)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if not self.writes:
            raise StoreUnavailable("the object store answered 503")
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


@dataclass(frozen=True)
class AwayMasterKey:
    """A master key in an outage, or one that refuses."""

    error: Exception = field(default_factory=lambda: StoreUnavailable("KMS is out of reach"))
    key_id: str = "away"

    def wrap(self, tenant: str, data_key: bytes) -> bytes:
        raise self.error

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        raise self.error


class SilentPublisher(RecordingPublisher):
    """A bus whose latest publication was not acknowledged."""

    async def answers(self) -> bool:
        return False


async def again_and_again(record: Any, error: Exception, times: int, **parts: Any) -> list[Result]:
    redeliveries = Redeliveries(POLICY.deliveries)
    return [
        await delivered(Raising([error] * POLICY.attempts), record, redeliveries=redeliveries, **parts)
        for _ in range(times)
    ]


@dataclass
class RefusedLetters(RecordingPublisher):
    """A bus that takes events but answers each dead letter with an error."""

    error: Exception = field(default_factory=ValueError)

    async def publish_raw(self, message: RawMessage) -> None:
        raise self.error


@dataclass
class NoOutcomes(RecordingPublisher):
    """A bus on which this consumer may not write outcomes."""

    async def publish(self, event: Event) -> None:
        if event.topic == events.OUTCOMES:
            raise Refused("bus-refused", "refused: the bus answered TopicAuthorizationFailedError")
        await super().publish(event)
