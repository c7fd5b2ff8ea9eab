"""The one copy of acknowledgement, retry and dead letters: what becomes of a record in every case."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.liveness import Progress
from consumers.runtime.middleware import OutermostMiddleware
from consumers.runtime.parsing import tolerant_parser
from consumers.runtime.poison import REFUSED_US, Poison
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.service import health_routes
from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.telemetry import configure_telemetry
from schemas import events
from schemas.envelope import Event, MalformedEvent, decode
from schemas.object_keys import ForbiddenKey
from schemas.outcome import Outcome
from schemas.topics import MESSAGE_BYTES
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.clock import utc_now
from tenancy.errors import (
    BusUnavailable,
    KeyDestroyed,
    Refused,
    StoreUnavailable,
    TenantFenced,
    Transient,
    UnknownTenant,
)
from tenancy.master_keys import KeyFileMasterKey
from tenancy.memory import MemoryObjectStore
from tenancy.objects import ObjectStore
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

_PURGE = events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op")

Handle = Callable[[Event, Any], Awaitable[Outcome]]


@dataclass
class FailingPublisher(RecordingPublisher):
    """A bus that takes events but no dead letters."""

    async def publish_raw(self, message: RawMessage) -> None:
        raise BusUnavailable("the bus did not acknowledge")


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


def _record(data: events.EventData | None = None, **changed: Any) -> Any:
    granted = events.ConsentGranted(consent_id="c", version=1)
    made = Event(subject="t1", data=data or granted, time=utc_now(), source="/test")
    return record_of(made, **{"partition": 3, **changed})


def _tenancy(publisher: RecordingPublisher, objects: ObjectStore | None = None) -> Tenancy:
    return assemble(objects or MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test")


async def _delivered(
    handler: Handle,
    record: Any,
    publisher: RecordingPublisher | None = None,
    progress: Progress | None = None,
    service: str = "curation",
    redeliveries: Redeliveries | None = None,
    objects: ObjectStore | None = None,
    replica: str | None = None,
) -> Result:
    """Deliver one record as FastStream does: handle it, then let the outermost middleware decide."""
    bus = publisher or RecordingPublisher()
    handlers: dict[type[events.EventData], Handler] = {
        events.ConsentGranted: handler,
        events.PurgeRequested: handler,
    }
    dispatcher = Dispatcher(service, handlers, _tenancy(bus, objects), None, TELEMETRY, POLICY, replica)
    middleware = OutermostMiddleware(
        record,
        context=None,
        dispatcher=dispatcher,
        progress=progress or Progress(60.0, 99),
        redeliveries=redeliveries or Redeliveries(POLICY.deliveries),
    )
    await middleware.on_receive()
    error: Exception | None = None
    try:
        await dispatcher.handle(record)
    except Exception as raised:
        error = raised
    suppressed = await middleware.after_processed(type(error) if error else None, error, None)
    outcomes = [e.data.outcome for e in bus.events if isinstance(e.data, events.OutcomeRecorded)]
    return Result(error is None or bool(suppressed), bus.raw, outcomes)


async def test_an_effect_is_told_and_acknowledged() -> None:
    result = await _delivered(Raising([]), _record())
    assert result == Result(True, [], [Outcome.EFFECT])


async def test_what_is_transient_is_tried_again_in_place() -> None:
    handler = Raising([StoreUnavailable("x"), BusUnavailable("y")])
    result = await _delivered(handler, _record())
    assert (handler.calls, result.outcomes) == (3, [Outcome.EFFECT])


async def test_what_stays_transient_comes_again() -> None:
    handler = Raising([StoreUnavailable("x") for _ in range(9)])
    result = await _delivered(handler, _record())
    assert handler.calls == POLICY.attempts
    assert result == Result(False, [], [])


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


class SilentPublisher(RecordingPublisher):
    """A bus whose latest publication was not acknowledged."""

    async def answers(self) -> bool:
        return False


async def _again_and_again(record: Any, error: Exception, times: int, **parts: Any) -> list[Result]:
    redeliveries = Redeliveries(POLICY.deliveries)
    return [
        await _delivered(Raising([error] * POLICY.attempts), record, redeliveries=redeliveries, **parts)
        for _ in range(times)
    ]


async def test_an_event_that_fails_again_and_again_while_everything_answers_is_dead_lettered_after_a_bound() -> None:
    objects = MemoryObjectStore()
    results = await _again_and_again(_record(), Transient("the record changed"), POLICY.deliveries, objects=objects)
    assert [result.acknowledged for result in results] == [False, False, True]
    assert results[-1].outcomes == [Outcome.DEAD_LETTERED]
    assert dict(results[-1].letters[0].headers)["dlq_reason"] == b"keeps-failing"
    assert objects.objects == {}, "asking whether the store answers wrote nothing"


@pytest.mark.parametrize(
    "parts",
    [
        {"objects": OutOfReach(reads=False, writes=True)},
        {"objects": OutOfReach(reads=True, writes=False)},
        {"publisher": SilentPublisher()},
    ],
    ids=["no reads", "no writes", "no acknowledgement"],
)
@pytest.mark.parametrize("data", [None, events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op")])
async def test_an_outage_dead_letters_nothing_however_long(parts: Any, data: Any) -> None:
    results = await _again_and_again(_record(data), StoreUnavailable("x"), 20, **parts)
    assert {(result.acknowledged, len(result.letters)) for result in results} == {(False, 0)}


async def test_after_an_outage_patience_begins_anew() -> None:
    redeliveries = Redeliveries(POLICY.deliveries)
    store = OutOfReach(reads=True, writes=True)
    acknowledged = []
    for answers in (True, True, False, True, True, True):
        store.reads = answers
        handler = Raising([Transient("x")] * POLICY.attempts)
        result = await _delivered(handler, _record(), redeliveries=redeliveries, objects=store)
        acknowledged.append(result.acknowledged)
    assert acknowledged == [False, False, False, False, False, True]


async def test_patience_is_with_one_event_and_not_with_its_partition() -> None:
    redeliveries = Redeliveries(POLICY.deliveries)
    for offset in (1, 1, 2, 2):
        handler = Raising([Transient("x")] * POLICY.attempts)
        assert not (await _delivered(handler, _record(offset=offset), redeliveries=redeliveries)).acknowledged


@pytest.mark.parametrize(
    "error",
    [Transient("x"), ValueError("bug"), Refused("object-store-refused", "refused: 403")],
    ids=["transient", "defect", "refused by the store"],
)
async def test_a_purge_command_that_fails_is_sent_to_the_back_of_its_topic_and_never_dead_lettered(
    error: Exception,
) -> None:
    record = _record(events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"))
    results = await _again_and_again(record, error, POLICY.deliveries)
    assert [result.acknowledged for result in results] == [False, False, True]
    [back] = results[-1].letters
    assert (back.topic, back.key, back.value, list(back.headers)) == (
        record.topic,
        record.key,
        record.value,
        [*record.headers, ("sano_only_for", b"curation")],
    )
    assert results[-1].outcomes == [], "it was not handled: there is nothing to tell"


async def test_a_purge_command_that_no_object_can_be_called_by_is_dead_lettered_at_once_and_is_no_failure_of_ours() -> (
    None
):
    progress = Progress(60.0, 99)
    handler = Raising([ForbiddenKey("refused: purge id has a shape that no key may have")])
    record = _record(events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"))
    result = await _delivered(handler, record, progress=progress)
    assert (result.acknowledged, result.outcomes, handler.calls) == (True, [Outcome.DEAD_LETTERED], 1)
    assert [dict(letter.headers)["dlq_reason"] for letter in result.letters] == [b"bad-key"]
    assert progress.consecutive_failures == 0


async def test_a_purge_command_for_nobody_is_dead_lettered_at_once() -> None:
    record = _record(events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"))
    result = await _delivered(Raising([UnknownTenant()]), record)
    assert dict(result.letters[0].headers)["dlq_reason"] == b"unknown-tenant"


async def test_a_purge_command_behind_a_failing_event_is_handled_and_no_command_is_skipped() -> None:
    """One partition, as Kafka delivers it: what is not acknowledged comes again, and holds what is behind it."""
    bus, redeliveries, handled = RecordingPublisher(), Redeliveries(POLICY.deliveries), []
    first_attempts = POLICY.attempts * POLICY.deliveries

    async def handle(event: Event, ports: Any) -> Outcome:
        nonlocal first_attempts
        if isinstance(event.data, events.ConsentGranted):
            raise Transient("never")
        if cast(events.PurgeRequested, event.data).purge_id == "stubborn" and first_attempts > 0:
            first_attempts -= 1
            raise Transient("not yet")
        handled.append(cast(events.PurgeRequested, event.data).purge_id)
        return Outcome.EFFECT

    partition = [
        _record(),
        *(_record(events.PurgeRequested(purge_id=p, reason_code="test", requested_by="op")) for p in ("stubborn", "p")),
    ]
    position = deliveries = 0
    while position < len(partition):
        record = replace(partition[position], offset=position)
        sent_back = len(bus.raw)
        result = await _delivered(handle, record, bus, redeliveries=redeliveries)
        deliveries += 1
        assert deliveries < 20
        partition += [
            replace(record, key=m.key, value=m.value, headers=m.headers)
            for m in bus.raw[sent_back:]
            if m.topic == record.topic
        ]
        position += result.acknowledged
    assert handled == ["p", "stubborn"]
    assert [letter.topic for letter in bus.raw if letter.topic.endswith(".dlq")] == ["sano.curation.v1.dlq"]


async def test_a_handler_that_is_too_slow_comes_again() -> None:
    async def slow(event: Event, ports: Any) -> Outcome:
        await asyncio.Event().wait()
        return Outcome.EFFECT

    bus = RecordingPublisher()
    policy = replace(POLICY, deadline_seconds=0.01)
    dispatcher = Dispatcher("curation", {events.ConsentGranted: slow}, _tenancy(bus), None, TELEMETRY, policy)
    with pytest.raises(Exception, match="longer than"):
        await dispatcher.handle(_record())


@pytest.mark.parametrize("error", [TenantFenced(), KeyDestroyed()])
async def test_a_purged_tenant_is_refused_and_the_event_acknowledged(error: Exception) -> None:
    result = await _delivered(Raising([error]), _record())
    assert result == Result(True, [], [Outcome.REFUSED_PURGED])


@pytest.mark.parametrize("error", [UnknownTenant(), Refused("foreign-claim-check", "refused: another example")])
async def test_what_is_refused_goes_to_the_dead_letters_at_once(error: Refused) -> None:
    handler = Raising([error])
    result = await _delivered(handler, _record())
    assert handler.calls == 1
    assert result.acknowledged
    assert result.outcomes == [Outcome.DEAD_LETTERED]
    headers = dict(result.letters[0].headers)
    assert headers["dlq_reason"] == error.code.encode()
    assert headers["dlq_topic"] == b"sano.curation.v1"
    assert (headers["dlq_partition"], headers["dlq_offset"]) == (b"3", b"7")
    assert headers["ce_type"] == b"sano.consent.granted", "the original headers are kept"


async def test_an_unforeseen_error_is_tried_again_and_then_dead_lettered_without_its_text() -> None:
    handler = Raising([ValueError("secret question") for _ in range(9)])
    result = await _delivered(handler, _record())
    assert handler.calls == POLICY.attempts
    headers = dict(result.letters[0].headers)
    assert headers["dlq_reason"] == b"handler-error"
    assert b"secret" not in b"".join(value or b"" for value in headers.values())


async def test_a_dead_letter_that_the_bus_does_not_take_keeps_the_message() -> None:
    result = await _delivered(Raising([Refused("x", "refused: x")]), _record(), FailingPublisher())
    assert not result.acknowledged


@dataclass
class RefusedLetters(RecordingPublisher):
    """A bus that takes events but answers each dead letter with an error."""

    error: Exception = field(default_factory=ValueError)

    async def publish_raw(self, message: RawMessage) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [Refused("bus-refused", "refused: the bus answered TopicAuthorizationFailedError"), ValueError("secret question")],
    ids=["refused", "unforeseen"],
)
async def test_whatever_keeps_a_letter_from_the_bus_the_message_comes_again_and_that_is_counted_and_said(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(60.0, POLICY.consecutive_failures_before_stop)
    for _ in range(POLICY.consecutive_failures_before_stop):
        result = await _delivered(Raising([]), _record(value=b"\xff"), RefusedLetters(error=error), progress)
        assert not result.acknowledged
    assert not progress.is_alive(), "somebody has to look"
    said = [record for record in caplog.records if record.message == "not dead-lettered, will be redelivered"]
    assert len(said) == POLICY.consecutive_failures_before_stop
    assert "secret" not in "".join(str(vars(record)) for record in said)


LARGE = {
    "a value that leaves no room for a reason": {"value": bytes(MESSAGE_BYTES - 100)},
    "a value that was compressed": {"value": bytes(3 * MESSAGE_BYTES)},
    "a header": {"headers": (("ce_type", b"sano.consent.granted"), ("h", bytes(MESSAGE_BYTES)))},
    "many headers": {"headers": (("ce_type", b"sano.consent.granted"), *((f"h{n:06}", b"") for n in range(200_000)))},
    "a key": {"key": bytes(MESSAGE_BYTES)},
}


@pytest.mark.parametrize("changed", LARGE.values(), ids=LARGE)
async def test_a_message_too_large_for_a_letter_is_passed_over_with_one_that_says_where_it_lies(changed: Any) -> None:
    record = _record(**changed)
    result = await _delivered(Raising([]), record)
    assert result.acknowledged
    [letter] = result.letters
    headers = dict(letter.headers)
    assert headers["dlq_reason"] == b"too-large"
    assert [headers[f"dlq_{name}"] for name in ("topic", "partition", "offset")] == [b"sano.curation.v1", b"3", b"7"]
    assert (headers["dlq_value_bytes"], letter.value) == (str(len(record.value)).encode(), None)
    assert headers["ce_type"] == b"sano.consent.granted", "what is short is kept"
    assert sum(len(name) + len(value or b"") for name, value in letter.headers) + len(letter.key or b"") < 20_000
    with pytest.raises(MalformedEvent):
        decode(letter.key, letter.value, letter.headers)


async def test_a_letter_without_its_message_tells_what_the_message_was_passed_over_for() -> None:
    granted = events.ConsentGranted(consent_id="c", version=1).model_dump_json().encode()
    record = _record(value=granted + b" " * MESSAGE_BYTES)
    result = await _delivered(Raising([UnknownTenant()]), record)
    assert result.outcomes == [Outcome.DEAD_LETTERED]
    detail = dict(result.letters[0].headers)["dlq_detail"]
    assert detail is not None
    assert detail.startswith(b"unknown-tenant: ")


@dataclass
class NoOutcomes(RecordingPublisher):
    """A bus on which this consumer may not write outcomes."""

    async def publish(self, event: Event) -> None:
        if event.topic == events.OUTCOMES:
            raise Refused("bus-refused", "refused: the bus answered TopicAuthorizationFailedError")
        await super().publish(event)


@pytest.mark.parametrize("error", [None, Refused("foreign-claim-check", "x")], ids=["handled", "refused"])
async def test_an_event_whose_outcome_the_bus_refuses_is_no_dead_letter_and_that_is_counted(
    error: Exception | None,
) -> None:
    progress, redeliveries = Progress(60.0, 2 * POLICY.deliveries), Redeliveries(POLICY.deliveries)
    for _ in range(2 * POLICY.deliveries):
        handler = Raising([error] if error else [])
        result = await _delivered(handler, _record(), NoOutcomes(), progress, redeliveries=redeliveries)
        assert result == Result(False, [], [])
    assert not progress.is_alive(), "somebody has to look"


async def test_a_refused_outcome_is_no_judgement_on_its_event() -> None:
    handlers: dict[type[events.EventData], Handler] = {events.ConsentGranted: Raising([])}
    dispatcher = Dispatcher("curation", handlers, _tenancy(NoOutcomes()), None, TELEMETRY, POLICY)
    with pytest.raises(BusUnavailable, match="the outcome was not accepted"):
        await dispatcher.handle(_record())


async def test_a_purge_command_whose_outcome_the_bus_refuses_is_sent_back_and_no_dead_letter() -> None:
    progress, redeliveries = Progress(60.0, 99), Redeliveries(POLICY.deliveries)
    record = _record(events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"))
    results = [
        await _delivered(Raising([]), record, NoOutcomes(), progress, redeliveries=redeliveries)
        for _ in range(POLICY.deliveries)
    ]
    assert [result.acknowledged for result in results] == [False, False, True]
    assert [[letter.topic for letter in result.letters] for result in results] == [[], [], [events.TENANTS]]
    assert progress.consecutive_failures == POLICY.deliveries


@pytest.mark.parametrize("code", sorted(REFUSED_US))
async def test_what_the_bus_or_the_store_refuses_a_handler_comes_again_and_may_be_put_right(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    progress, refusal = Progress(60.0, 99), Refused(code, "refused: 403")
    results = await _again_and_again(_record(), refusal, POLICY.deliveries, progress=progress)
    assert [result.acknowledged for result in results] == [False, False, True]
    assert [result.outcomes for result in results] == [[], [], [Outcome.DEAD_LETTERED]]
    assert [[dict(letter.headers)["dlq_reason"] for letter in r.letters] for r in results] == [[], [], [code.encode()]]
    assert progress.consecutive_failures == POLICY.deliveries
    assert code in "".join(str(vars(record)) for record in caplog.records if record.message == "will be redelivered")
    redeliveries = Redeliveries(POLICY.deliveries)
    assert not (await _delivered(Raising([refusal]), _record(), redeliveries=redeliveries)).acknowledged
    assert (await _delivered(Raising([]), _record(), redeliveries=redeliveries)).outcomes == [Outcome.EFFECT]


async def test_a_store_that_refuses_everything_dead_letters_nothing() -> None:
    class Forbidden(MemoryObjectStore):
        async def exists(self, key: str) -> bool:
            raise Refused("object-store-refused", "refused: 403")

    refusal = Refused("object-store-refused", "refused: 403")
    results = await _again_and_again(_record(), refusal, 3 * POLICY.deliveries, objects=Forbidden())
    assert {result.acknowledged for result in results} == {False}


async def _sent_back(record: Any) -> RawMessage:
    """What is published where the command in this record fails until patience is over."""
    results = await _again_and_again(record, Refused("object-store-refused", "refused: 403"), POLICY.deliveries)
    assert [result.acknowledged for result in results] == [False, False, True]
    [published] = [message for result in results for message in result.letters]
    return published


async def test_a_purge_command_that_leaves_no_room_for_its_readers_name_is_sent_back_without_what_is_not_its_own() -> (
    None
):
    record = _record(_PURGE)
    size = sum(len(part) for part in (record.key, record.value, *(p for n, v in record.headers for p in (n, v))))
    padding = ("x", b"x" * (MESSAGE_BYTES - size - 1))
    full = replace(record, headers=(*record.headers, padding))
    published = await _sent_back(full)
    assert published.topic == events.TENANTS
    assert dict(published.headers) == {**dict(record.headers), "sano_only_for": b"curation"}
    again = decode(published.key, published.value, published.headers)
    assert again == decode(full.key, full.value, full.headers)


async def test_a_purge_command_that_fills_a_message_by_itself_is_a_dead_letter_and_does_not_come_again_for_ever() -> (
    None
):
    source = b"/" * (MESSAGE_BYTES - 700)
    record = _record(_PURGE)
    full = replace(record, headers=tuple((n, source if n == "ce_source" else v) for n, v in record.headers))
    size = sum(len(part) for part in (full.key, full.value, *(p for n, v in full.headers for p in (n, v))))
    full = replace(
        full, headers=tuple((n, v + b"/" * (MESSAGE_BYTES - size) if v is source else v) for n, v in full.headers)
    )
    letter = await _sent_back(full)
    assert letter.topic == f"{events.TENANTS}.dlq"
    assert dict(letter.headers)["dlq_reason"] == b"too-large"


def _copy(reader: str, data: events.EventData | None = None) -> Any:
    record = _record(data or _PURGE)
    return replace(record, headers=(*record.headers, ("sano_only_for", reader.encode())))


@pytest.mark.parametrize("reader", ["", "nobody", "curation", "purge.r1", "inference", "inference.", "inference.a b"])
async def test_a_copy_for_a_reader_that_nobody_is_is_dead_lettered_once_by_the_topics_owner(reader: str) -> None:
    handler = Raising([])
    result = await _delivered(handler, _copy(reader), service="purge")
    assert (result.acknowledged, result.outcomes, handler.calls) == (True, [Outcome.DEAD_LETTERED], 0)
    assert [dict(letter.headers)["dlq_reason"] for letter in result.letters] == [b"unknown-reader"]
    assert await _delivered(Raising([]), _copy(reader), service="ledger") == Result(True, [], [])


@pytest.mark.parametrize("reader", ["export", "ledger", "inference.r1"])
async def test_a_copy_for_another_reader_of_the_topic_is_no_dead_letter(reader: str) -> None:
    assert await _delivered(Raising([]), _copy(reader), service="purge") == Result(True, [], [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused("object-store-refused", "refused: 403"), b"object-store-refused"),
        (Refused("no-code-of-ours", "x"), b"handler-error"),
        (ValueError("secret question"), b"handler-error"),
    ],
    ids=["refused", "refused by nobody known", "defect"],
)
async def test_what_is_raised_around_a_handler_is_our_failure_and_not_the_records(
    error: Exception, reason: bytes
) -> None:
    bus, progress, redeliveries = RecordingPublisher(), Progress(60.0, 99), Redeliveries(POLICY.deliveries)
    dispatcher = Dispatcher("curation", {}, _tenancy(bus), None, TELEMETRY, POLICY)
    acknowledged = []
    for _ in range(POLICY.deliveries):
        middleware = OutermostMiddleware(
            _record(), context=None, dispatcher=dispatcher, progress=progress, redeliveries=redeliveries
        )
        acknowledged.append(await middleware.after_processed(type(error), error, None))
    assert acknowledged == [False, False, True]
    assert [dict(letter.headers)["dlq_reason"] for letter in bus.raw] == [reason]
    assert progress.consecutive_failures == POLICY.deliveries


async def test_only_what_the_parser_raises_is_unparsable() -> None:
    async def original(record: Any) -> Any:
        raise ValueError("secret question")

    with pytest.raises(Poison, match="unparsable: ValueError") as poison:
        await tolerant_parser(_record(), original)
    assert not poison.value.is_ours


async def test_when_everything_fails_the_consumer_stops_instead_of_dead_lettering_all() -> None:
    progress = Progress(60.0, POLICY.consecutive_failures_before_stop)
    results = []
    for _ in range(5):
        handler = Raising([ValueError("bug") for _ in range(9)])
        results.append(await _delivered(handler, _record(), progress=progress))
    assert [result.acknowledged for result in results] == [True, True, True, False, False]
    assert not progress.is_alive()


async def test_malformed_input_never_stops_a_consumer() -> None:
    progress = Progress(60.0, POLICY.consecutive_failures_before_stop)
    for _ in range(10):
        assert (await _delivered(Raising([]), _record(value=b"\xff"), progress=progress)).acknowledged
    assert progress.is_alive()


async def test_only_a_topics_owner_dead_letters_what_nobody_can_read() -> None:
    garbage = _record(value=b"not json")
    assert len((await _delivered(Raising([]), garbage)).letters) == 1
    assert (await _delivered(Raising([]), garbage, service="ledger")).letters == []


async def test_an_event_on_a_topic_where_it_does_not_belong_is_dead_lettered() -> None:
    dispatcher = Dispatcher("training", {}, _tenancy(RecordingPublisher()), None, TELEMETRY, POLICY)
    with pytest.raises(Poison, match="wrong-topic"):
        await dispatcher.handle(_record(topic=events.TRAINING))


async def test_the_outcome_of_an_outcome_is_not_told() -> None:
    data = events.OutcomeRecorded(
        event_id="e", event_type="sano.consent.granted", consumer="c", outcome=Outcome.EFFECT, delivery="t/0/0"
    )
    bus = RecordingPublisher()
    handlers: dict[type[events.EventData], Handler] = {events.OutcomeRecorded: Raising([])}
    dispatcher = Dispatcher("ledger", handlers, _tenancy(bus), None, TELEMETRY, POLICY)
    assert await dispatcher.handle(_record(data)) == Outcome.EFFECT
    assert bus.events == []


async def test_a_copy_that_one_replica_sent_back_is_passed_over_by_all_others() -> None:
    """One partition that three replicas read, all of which fail, round after round, and then succeed."""
    bus, replicas = RecordingPublisher(), ("r1", "r2", "r3")
    topic = [_record(events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"), offset=0)]
    positions = dict.fromkeys(replicas, 0)
    redeliveries = {replica: Redeliveries(POLICY.deliveries) for replica in replicas}
    tried: dict[str, list[str]] = {replica: [] for replica in replicas}
    fails = True

    async def deliver(replica: str) -> None:
        async def handle(event: Event, ports: Any) -> Outcome:
            tried[replica].append(event.id)
            if fails:
                raise Refused("object-store-refused", "refused: 403")
            return Outcome.EFFECT

        result = await _delivered(
            handle, topic[positions[replica]], bus, redeliveries=redeliveries[replica], replica=replica
        )
        positions[replica] += result.acknowledged
        topic.extend(
            replace(topic[0], offset=len(topic) + n, headers=tuple(message.headers))
            for n, message in enumerate(bus.raw)
        )
        bus.raw.clear()

    rounds = 4
    for _ in range(rounds):
        ends = {replica: len(topic) for replica in replicas}
        for replica in replicas:
            while positions[replica] < ends[replica]:
                await deliver(replica)
    assert len(topic) == 1 + rounds * len(replicas), "each round is one copy of each, and not of each copy"
    assert {len(calls) for calls in tried.values()} == {rounds * POLICY.deliveries}
    fails = False
    for replica in replicas:
        while positions[replica] < len(topic):
            await deliver(replica)
    assert {len(calls) for calls in tried.values()} == {rounds * POLICY.deliveries + 1}
    assert {event_id for calls in tried.values() for event_id in calls} == {tried["r1"][0]}, "it is the same event"
    assert all([header[0] for header in record.headers].count("sano_only_for") <= 1 for record in topic)


async def test_nobody_can_make_others_pass_over_an_event_that_is_never_sent_back() -> None:
    record = _record()
    marked = replace(record, headers=(*record.headers, ("sano_only_for", b"ledger")))
    assert (await _delivered(Raising([]), marked)).outcomes == [Outcome.EFFECT]
    assert len((await _delivered(Raising([]), replace(marked, value=b"not json"))).letters) == 1


@pytest.mark.parametrize("headers", [(("reply_to", b"sano.tenants.v1"),), (("x", None),), (("x", b"\xff\xfe"),)])
async def test_no_header_can_break_the_parser_or_choose_a_topic(headers: Any) -> None:
    seen: list[Any] = []

    @dataclass
    class Message:
        raw_message: Any

    async def original(record: Any) -> Any:
        seen.append(record.headers)
        return Message(record)

    record = _record(headers=headers)
    message = await tolerant_parser(record, original)
    assert seen == [()]
    assert message.raw_message is record


def test_a_message_in_hand_for_too_long_is_not_alive() -> None:
    now = [0.0]
    progress = Progress(90.0, 3, now=lambda: now[0])
    progress.begin()
    now[0] = 89.0
    assert progress.is_alive()
    now[0] = 91.0
    assert not progress.is_alive()
    progress.end(failed=False)
    assert progress.is_alive()


def test_a_consumer_is_not_evicted_within_any_deadline_that_a_setting_can_name() -> None:
    named = ConsumerSettings.model_fields["handler_deadline_seconds"]
    [most] = [item.le for item in named.metadata if hasattr(item, "le")]
    for deadline in (0.001, 60.0, 299.0, 301.0, most):
        policy = ConsumerSettings(
            kafka_bootstrap_servers="x:1", s3_bucket="b", handler_deadline_seconds=deadline
        ).handling_policy()
        assert policy.max_poll_interval_ms >= 1000 * (deadline + 240)
        assert policy.max_poll_interval_ms < 2**31, "what Kafka's protocol holds"
    assert HandlingPolicy().max_poll_interval_ms == 300_000
    for deadline in (most + 1, float("inf"), float("nan"), 0.0):
        with pytest.raises(ValidationError):
            ConsumerSettings(kafka_bootstrap_servers="x:1", s3_bucket="b", handler_deadline_seconds=deadline)


async def test_liveness_is_503_while_a_message_is_stuck_and_readiness_while_the_bus_is_out() -> None:
    now, bus_answers = [0.0], [True]
    progress = Progress(90.0, 3, now=lambda: now[0])

    async def is_ready() -> bool:
        return bus_answers[0]

    app = Starlette(routes=health_routes(TELEMETRY, progress.is_alive, is_ready))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://consumer") as client:

        async def statuses() -> tuple[int, int]:
            live, ready = await client.get("/health/live"), await client.get("/health/ready")
            return live.status_code, ready.status_code

        progress.begin()
        assert await statuses() == (200, 200)
        now[0] = 91.0
        assert await statuses() == (503, 200)
        progress.end(failed=False)
        bus_answers[0] = False
        assert await statuses() == (200, 503)
