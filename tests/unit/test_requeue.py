"""Events that removals are made of: one that keeps failing goes to the back of its topic, for who failed alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from consumers.runtime.liveness import Progress
from consumers.runtime.redeliveries import Redeliveries
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.bus.topics import MESSAGE_BYTES
from tenancy.bus import RecordingPublisher
from tenancy.errors import (
    Refused,
    Transient,
)
from tests.unit.runtime_parts import (
    POLICY,
    PURGE,
    NoOutcomes,
    Raising,
    Result,
    a_record,
    again_and_again,
    delivered,
)


@pytest.mark.parametrize(
    "error",
    [Transient("x"), ValueError("bug"), Refused("object-store-refused", "refused: 403")],
    ids=["transient", "defect", "refused by the store"],
)
async def test_a_purge_command_that_fails_is_sent_to_the_back_of_its_topic_and_never_dead_lettered(
    error: Exception,
) -> None:
    record = a_record(PURGE)
    results = await again_and_again(record, error, POLICY.deliveries)
    assert [result.acknowledged for result in results] == [False, False, True]
    [back] = results[-1].letters
    assert (back.topic, back.key, back.value, list(back.headers)) == (
        record.topic,
        record.key,
        record.value,
        [*record.headers, ("sano_only_for", b"curation")],
    )
    assert results[-1].outcomes == [], "it was not handled: there is nothing to tell"


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
        a_record(),
        *(
            a_record(events.PurgeRequested(purge_id=p, reason_code="test", requested_by="op"))
            for p in ("stubborn", "p")
        ),
    ]
    position = deliveries = 0
    while position < len(partition):
        record = replace(partition[position], offset=position)
        requeued = len(bus.raw)
        result = await delivered(handle, record, bus, redeliveries=redeliveries)
        deliveries += 1
        assert deliveries < 20
        partition += [
            replace(record, key=m.key, value=m.value, headers=m.headers)
            for m in bus.raw[requeued:]
            if m.topic == record.topic
        ]
        position += result.acknowledged
    assert handled == ["p", "stubborn"]
    assert [letter.topic for letter in bus.raw if letter.topic.endswith(".dlq")] == ["sano.curation.v1.dlq"]


async def test_a_purge_command_whose_outcome_the_bus_refuses_is_requeued_and_no_dead_letter() -> None:
    progress, redeliveries = Progress(60.0, 99), Redeliveries(POLICY.deliveries)
    record = a_record(PURGE)
    results = [
        await delivered(Raising([]), record, NoOutcomes(), progress, redeliveries=redeliveries)
        for _ in range(POLICY.deliveries)
    ]
    assert [result.acknowledged for result in results] == [False, False, True]
    assert [[letter.topic for letter in result.letters] for result in results] == [[], [], [events.TENANTS]]
    assert progress.consecutive_failures == POLICY.deliveries


async def test_a_purge_command_that_fills_a_message_is_a_dead_letter_and_does_not_come_again_for_ever() -> None:
    source = b"/" * (MESSAGE_BYTES - 700)
    record = a_record(PURGE)
    full = replace(record, headers=tuple((n, source if n == "ce_source" else v) for n, v in record.headers))
    size = sum(len(part) for part in (full.key, full.value, *(p for n, v in full.headers for p in (n, v))))
    full = replace(
        full, headers=tuple((n, v + b"/" * (MESSAGE_BYTES - size) if v is source else v) for n, v in full.headers)
    )
    results = await again_and_again(full, Refused("object-store-refused", "refused: 403"), POLICY.deliveries)
    assert [result.acknowledged for result in results] == [False, False, True]
    [letter] = [message for result in results for message in result.letters]
    assert letter.topic == f"{events.TENANTS}.dlq"
    assert dict(letter.headers)["dlq_reason"] == b"too-large"


def _copy(reader: str, data: events.EventData | None = None) -> Any:
    record = a_record(data or PURGE)
    return replace(record, headers=(*record.headers, ("sano_only_for", reader.encode())))


@pytest.mark.parametrize("reader", ["", "nobody", "curation", "purge.r1", "inference", "inference.", "inference.a b"])
async def test_a_copy_for_a_reader_that_nobody_is_is_dead_lettered_once_by_the_topics_owner(reader: str) -> None:
    handler = Raising([])
    result = await delivered(handler, _copy(reader), service="purge")
    assert (result.acknowledged, result.outcomes, handler.calls) == (True, [Outcome.DEAD_LETTERED], 0)
    assert [dict(letter.headers)["dlq_reason"] for letter in result.letters] == [b"unknown-reader"]
    assert await delivered(Raising([]), _copy(reader), service="ledger") == Result(True, [], [])


@pytest.mark.parametrize("reader", ["export", "ledger", "inference.r1"])
async def test_a_copy_for_another_reader_of_the_topic_is_no_dead_letter(reader: str) -> None:
    assert await delivered(Raising([]), _copy(reader), service="purge") == Result(True, [], [])


async def test_a_copy_that_one_replica_sent_back_is_passed_over_by_all_others() -> None:
    """One partition that three replicas read, all of which fail, round after round, and then succeed."""
    bus, replicas = RecordingPublisher(), ("r1", "r2", "r3")
    topic = [a_record(PURGE, offset=0)]
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

        result = await delivered(
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
    record = a_record()
    marked = replace(record, headers=(*record.headers, ("sano_only_for", b"ledger")))
    assert (await delivered(Raising([]), marked)).outcomes == [Outcome.EFFECT]
    assert len((await delivered(Raising([]), replace(marked, value=b"not json"))).letters) == 1
