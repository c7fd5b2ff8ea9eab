"""Redelivers all of a purged tenant's events, from offset 0, to show that consumers refuse them by themselves.

It bypasses replay plans, which would leave them out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producers.replay.kafka_log import kafka_log
from schemas.bus.envelope import MalformedEvent, decode
from schemas.bus.events import KNOWLEDGE, OUTCOMES, OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.topics import LIVE_TOPICS
from tenancy.bootstrap import Tenancy
from tenancy.bus import RawMessage

POLL_SECONDS = 0.5
LEDGER = "ledger"


@dataclass(frozen=True)
class Redelivery:
    """How many events were sent again and how many of them had an effect."""

    events: int
    effects: int
    outcomes: dict[str, int]


async def read_all(client_settings: Mapping[str, Any], topics: Sequence[str], tenant: str | None) -> list[RawMessage]:
    """Every message of the tenant, or of anybody, on these topics, in the order in which they were appended."""
    async with kafka_log(client_settings) as log:
        return [
            RawMessage(message.place.topic, message.key, message.value, message.headers)
            async for message in log.messages(await log.ranges(topics))
            if tenant is None or message.key == tenant.encode()
        ]


async def redeliver(
    tenancy: Tenancy, client_settings: Mapping[str, Any], tenant: str, timeout_seconds: float
) -> Redelivery:
    """Send every event of the tenant again, same key, value and headers, and wait until all were handled again."""
    topics = [topic for topic in LIVE_TOPICS if topic != OUTCOMES]
    messages = await read_all(client_settings, topics, tenant)
    decoded = [decode(message.key, message.value, message.headers) for message in messages]
    sent = Counter(event.id for event in decoded)
    # The ledger enters every event but documents: the first time is over when it has, or that would be an effect.
    entered = {event.id for event in decoded if event.topic != KNOWLEDGE}
    async with asyncio.timeout(timeout_seconds):
        while True:
            before = await _outcomes(client_settings, tenant)
            if entered <= {outcome.event_id for outcome in before if outcome.consumer == LEDGER}:
                break
            await asyncio.sleep(POLL_SECONDS)
    for message in messages:
        await tenancy.publisher.publish_raw(message)
    # What was handled before is handled again by the same consumers, once for each time that it was sent now.
    handlers = Counter({(o.event_id, o.consumer): 1 for o in before})
    expected = sum(sent[event_id] for event_id, _ in handlers)
    async with asyncio.timeout(timeout_seconds):
        while True:
            new = (await _outcomes(client_settings, tenant))[len(before) :]
            if sum(1 for outcome in new if outcome.event_id in sent) >= expected:
                break
            await asyncio.sleep(POLL_SECONDS)
    came = Counter(str(outcome.outcome) for outcome in new)
    return Redelivery(len(messages), came[Outcome.EFFECT], dict(came))


async def _outcomes(client_settings: Mapping[str, Any], tenant: str) -> list[OutcomeRecorded]:
    outcomes = []
    for message in await read_all(client_settings, [OUTCOMES], tenant):
        try:
            data = decode(message.key, message.value, message.headers).data
        except MalformedEvent:
            continue
        if isinstance(data, OutcomeRecorded):
            outcomes.append(data)
    return outcomes
