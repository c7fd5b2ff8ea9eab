"""What is passed over: with which letter, and whose fault it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.handling import Handling
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Record
from consumers.runtime.poison import Poison
from consumers.runtime.redeliveries import Redeliveries
from schemas.bus import events
from schemas.bus.envelope import MalformedEvent, decode
from schemas.bus.outcome import Outcome
from schemas.bus.topics import MESSAGE_BYTES
from schemas.objects.object_keys import ForbiddenKey
from tenancy.bus import RecordingPublisher
from tenancy.errors import (
    BusUnavailable,
    Refused,
    StoreUnavailable,
    UnknownTenant,
)
from tests.unit.runtime_parts import (
    POLICY,
    PURGE,
    TELEMETRY,
    NothingGuarded,
    Raising,
    RefusedLetters,
    a_record,
    a_tenancy,
    delivered,
)


async def test_a_purge_command_that_no_object_can_be_called_by_is_dead_lettered_at_once_and_is_no_failure_of_ours() -> (
    None
):
    progress = Progress(60.0, 99)
    handler = Raising([ForbiddenKey("refused: purge id has a shape that no key may have")])
    record = a_record(PURGE)
    result = await delivered(handler, record, progress=progress)
    assert (result.acknowledged, result.outcomes, handler.calls) == (True, [Outcome.DEAD_LETTERED], 1)
    assert [dict(letter.headers)["dlq_reason"] for letter in result.letters] == [b"bad-key"]
    assert progress.consecutive_failures == 0


async def test_a_letter_is_written_only_once_the_service_has_done_what_it_does_with_one() -> None:
    """Else a process that ends in between leaves a letter that the service knows nothing of."""
    reasons: list[str] = []

    async def noted(record: Any, poison: Poison, ports: Any) -> None:
        reasons.append(poison.code)
        if len(reasons) == 1:
            raise StoreUnavailable("the object store answered 503")

    bus, record = RecordingPublisher(), a_record(PURGE, value=b"{}")
    first = await delivered(Raising([]), record, bus, service="purge", on_dead_letter=noted)
    assert (first.acknowledged, first.letters) == (False, [])
    again = await delivered(Raising([]), record, bus, service="purge", on_dead_letter=noted)
    assert (again.acknowledged, len(again.letters), reasons) == (True, 1, ["invalid-data"] * 2)


async def test_a_purge_command_for_nobody_is_dead_lettered_at_once() -> None:
    record = a_record(PURGE)
    result = await delivered(Raising([UnknownTenant()]), record)
    assert dict(result.letters[0].headers)["dlq_reason"] == b"unknown-tenant"


@pytest.mark.parametrize("error", [UnknownTenant(), Refused("foreign-claim-check", "refused: another example")])
async def test_what_is_refused_goes_to_the_dead_letters_at_once(error: Refused) -> None:
    handler = Raising([error])
    result = await delivered(handler, a_record())
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
    result = await delivered(handler, a_record())
    assert handler.calls == POLICY.attempts
    headers = dict(result.letters[0].headers)
    assert headers["dlq_reason"] == b"handler-error"
    assert b"secret" not in b"".join(value or b"" for value in headers.values())


async def test_a_dead_letter_that_the_bus_does_not_take_keeps_the_message() -> None:
    result = await delivered(
        Raising([Refused("x", "refused: x")]),
        a_record(),
        RefusedLetters(error=BusUnavailable("the bus did not acknowledge")),
    )
    assert not result.acknowledged


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
        result = await delivered(Raising([]), a_record(value=b"\xff"), RefusedLetters(error=error), progress)
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
    record = a_record(**changed)
    result = await delivered(Raising([]), record)
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
    record = a_record(value=granted + b" " * MESSAGE_BYTES)
    result = await delivered(Raising([UnknownTenant()]), record)
    assert result.outcomes == [Outcome.DEAD_LETTERED]
    detail = dict(result.letters[0].headers)["dlq_detail"]
    assert detail is not None
    assert detail.startswith(b"unknown-tenant: ")


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
    class Failing(NothingGuarded):
        @asynccontextmanager
        async def guarding(self, record: Record) -> AsyncIterator[None]:
            raise error
            yield

    bus, progress = RecordingPublisher(), Progress(60.0, 99)
    tenancy = a_tenancy(bus)
    dispatcher = Dispatcher("curation", {}, tenancy, None, TELEMETRY, POLICY)
    around = Failing("test", tenancy, 5, lambda _: None)
    handling = Handling(dispatcher, progress, around, Redeliveries(POLICY.deliveries))
    acknowledged = [await handling.attempt_one(a_record()) for _ in range(POLICY.deliveries)]
    assert acknowledged == [False, False, True]
    assert [dict(letter.headers)["dlq_reason"] for letter in bus.raw] == [reason]
    assert progress.consecutive_failures == POLICY.deliveries


async def test_malformed_input_never_stops_a_consumer() -> None:
    progress = Progress(60.0, POLICY.consecutive_failures_before_stop)
    for _ in range(10):
        assert (await delivered(Raising([]), a_record(value=b"\xff"), progress=progress)).acknowledged
    assert progress.is_alive()


async def test_only_a_topics_owner_dead_letters_what_nobody_can_read() -> None:
    garbage = a_record(value=b"not json")
    assert len((await delivered(Raising([]), garbage)).letters) == 1
    assert (await delivered(Raising([]), garbage, service="ledger")).letters == []


async def test_an_event_on_a_topic_where_it_does_not_belong_is_dead_lettered() -> None:
    dispatcher = Dispatcher("training", {}, a_tenancy(RecordingPublisher()), None, TELEMETRY, POLICY)
    with pytest.raises(Poison, match="wrong-topic"):
        await dispatcher.handle(a_record(topic=events.TRAINING))


@pytest.mark.parametrize(
    ("header", "reason"),
    [(("x", None), b"null-header"), (("x", b"\xff\xfe"), b"header-not-utf8"), (("reply_to", b"sano.tenants.v1"), None)],
)
async def test_no_header_is_lost_without_a_trace_or_chooses_a_topic(header: Any, reason: bytes | None) -> None:
    record = a_record()
    result = await delivered(Raising([]), replace(record, headers=(*record.headers, header)))
    assert result.acknowledged
    assert [(letter.topic, dict(letter.headers)["dlq_reason"]) for letter in result.letters] == (
        [("sano.curation.v1.dlq", reason)] if reason else []
    )
    assert result.outcomes == ([] if reason else [Outcome.EFFECT])
