"""Two thousand malformed messages on every topic, and some that are too large for a letter: each becomes a dead letter
with a reason, none is lost, the consumers live, and the good events between them are handled."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from producers.replay.kafka_log import kafka_log
from producers.replay.log import Message, PartitionRange
from schemas.bus import events
from schemas.bus.envelope import Event, encode
from schemas.bus.topics import LIVE_TOPICS, dead_letter_topic
from schemas.tenant.policy import TenantPolicy
from tenancy.platform.clock import utc_now
from tenancy.tenant_id import TenantId
from tests.fixtures.history import approvals, onboarded
from tests.fixtures.platform import Platform, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PER_TOPIC = 500
GOOD = 20
"""Events between the garbage."""
OVERSIZE = ((None, 1_048_300), ("gzip", 3_000_000))
"""Compression and length of values that a topic takes, and no letter can hold: with its reason it is larger than the
bus takes, or it is as soon as it is not compressed."""
TENANT = TenantId("garbage")

Raw = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def _good(topic: str) -> Raw:
    """An event that is right in everything, to be spoilt."""
    data: dict[str, events.EventData] = {
        events.TENANTS: events.ExportRequested(export_id="x", requested_by="op"),
        events.CURATION: events.ConsentGranted(consent_id="c", version=1),
        events.TRAINING: events.TrainingRequested(run_id="r", trigger="operator"),
        events.ADAPTERS: events.AdapterRetired(adapter_digest="a" * 64, reason_code="test"),
        events.REPLICAS: events.ReplicaEvicted(replica_id="r", cause_id="p", receipt={}),
        events.KNOWLEDGE: events.DocumentRemoved(document_id="d", version=1),
        events.USAGE: events.UsageRecorded(usage_id="u", source="storage"),
        events.OUTCOMES: events.OutcomeRecorded(
            event_id="e", event_type="sano.usage.recorded", consumer="c", outcome="EFFECT", delivery="t/0/0"
        ),
    }
    message = encode(Event(subject=TENANT, data=data[topic], time=utc_now(), source="/test"))
    return message.key, message.value, list(message.headers)


def _spoilt(topic: str, number: int, rng: random.Random) -> Raw:
    """One of ten ways to be malformed."""
    key, value, headers = _good(topic)
    named: dict[str, bytes | None] = dict(headers)
    way = number % 10
    if way == 0:
        return key, rng.randbytes(rng.randint(1, 200)), headers
    if way == 1:
        return key, None, headers  # a tombstone
    if way == 2:
        named["ce_type"] = b"sano.no.such.type"
    elif way == 3:
        named["ce_source"] = None
    elif way == 4:
        named["ce_source"] = b"\xff\xfe\xfd"
    elif way == 5:
        return key, b'{"wrong": ["types", 1, null]}', headers
    elif way == 6:
        return b"another-tenant", value, headers
    elif way == 7:
        named["ce_id"] = b"00000000-0000-0000-0000-000000000000"
    elif way == 8:
        return rng.randbytes(8), rng.randbytes(64), [(f"h{rng.randint(0, 9)}", rng.randbytes(4))]
    else:
        del named["ce_time"]
    return key, value, list(named.items())


@pytest.mark.timeout(900)
async def test_garbage_on_every_topic_becomes_dead_letters_and_stops_nobody(platform: Platform) -> None:
    rng = random.Random(7)
    client = platform.settings.kafka_client()
    async with platform.tenancy() as tenancy, kafka_log(client) as log:
        await onboarded(tenancy, TENANT, TenantPolicy(min_new_examples=1000))
        dead_before = {topic: await log.ranges([dead_letter_topic(topic)]) for topic in LIVE_TOPICS}
        good = await approvals(tenancy, TENANT, GOOD)
        await tenancy.outbox.publish(TENANT, events.ConsentGranted(consent_id="c-1", version=1))
        producer = AIOKafkaProducer(**client, acks="all")
        await producer.start()
        try:
            for number in range(PER_TOPIC):
                for topic in LIVE_TOPICS:
                    key, value, headers = _spoilt(topic, number, rng)
                    await producer.send(topic, value, key=key, headers=headers)
                if number == PER_TOPIC // 2:
                    await producer.flush()
                    await _oversize(platform)
                place, rest = divmod(number, PER_TOPIC // GOOD)
                if rest == 0:
                    await producer.flush()
                    await tenancy.outbox.publish(TENANT, good[place])
            await producer.flush()
        finally:
            await producer.stop()

        async def curated() -> bool | None:
            state = (await tenancy.states.read(TENANT)).state
            return len(state.curation.fresh) == len(good) or None

        await eventually(curated, "the good events between the garbage were handled")
        sent = PER_TOPIC + len(OVERSIZE)
        for topic in LIVE_TOPICS:

            async def all_dead(topic: str = topic) -> list[PartitionRange] | None:
                new = _behind(dead_before[topic], await log.ranges([dead_letter_topic(topic)]))
                return new if sum(r.end - r.begin for r in new) >= sent else None

            new = await eventually(all_dead, f"the garbage on {topic} is in its dead-letter topic")
            # Letters keep whatever key they had, so all are read: once, since it takes what the consumers work with.
            letters = Counter([_reason(letter) async for letter in log.messages(new)])
            assert letters.total() == sent, f"{topic}: {letters}"
            assert letters["too-large"] == len(OVERSIZE)
            assert "" not in letters, "every letter has a reason"
            assert {"unknown-type", "no-data", "null-header", "header-not-utf8", "invalid-data"} <= set(letters)
        assert all(process.is_running() for process in platform.processes.values())


async def _oversize(platform: Platform) -> None:
    for compression, length in OVERSIZE:
        producer = AIOKafkaProducer(
            **platform.settings.kafka_client(), acks="all", compression_type=compression, max_request_size=4_194_304
        )
        await producer.start()
        try:
            for topic in LIVE_TOPICS:
                await producer.send_and_wait(topic, bytes(length), key=b"k")
        finally:
            await producer.stop()


def _behind(before: Sequence[PartitionRange], now: Sequence[PartitionRange]) -> list[PartitionRange]:
    """What was appended since."""
    ends = {held.partition: held.end for held in before}
    return [held.evolve(begin=ends[held.partition]) for held in now]


def _reason(letter: Message) -> str:
    return (dict(letter.headers).get("dlq_reason") or b"").decode()
