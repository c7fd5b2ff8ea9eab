"""Lanes on real Kafka: a stuck tenant delays nobody, nor does one's flood that is many times what memory holds, and a
group that grows and shrinks handles each event once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.lane import LaneLimits
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.service import Consumer
from consumers.runtime.settings import ConsumerSettings
from deploy.local.kafka import KafkaCluster
from producers.operations.topics import apply_topics
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.bus.topics import TOPICS
from tenancy.bootstrap import Tenancy, assemble
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.platform import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

POLICY = HandlingPolicy(deadline_seconds=8.0, redelivery_pause_seconds=0.1, session_timeout_ms=6000)
LITTLE_MEMORY = replace(POLICY, lanes=LaneLimits(side_by_side=4, records=100, bytes=10**6, run=10))
STUCK = "lanes-stuck"


@dataclass
class Handled:
    """What a group did: which events of which tenant were begun, in their order, and which are held up."""

    policy: HandlingPolicy = POLICY
    stuck: str = STUCK
    group: str = field(default_factory=lambda: f"lanes.{secrets.token_hex(4)}")
    begun: dict[str, list[int]] = field(default_factory=dict)
    ended: Counter[tuple[str, int]] = field(default_factory=Counter)
    in_hand: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_granted(self, event: Event, ports: Any) -> Outcome:
        number = cast(events.ConsentGranted, event.data).version
        self.begun.setdefault(event.subject, []).append(number)
        self.in_hand[event.subject] += 1
        assert self.in_hand[event.subject] == 1, "one record of a tenant is in hand at a time"
        try:
            await (self.gate.wait() if event.subject == self.stuck else asyncio.sleep(0.01))
        finally:
            self.in_hand[event.subject] -= 1
        self.ended[event.subject, number] += 1
        return Outcome.EFFECT

    @asynccontextmanager
    async def consuming(self, bootstrap: str, tenancy: Tenancy) -> AsyncIterator[Consumer]:
        settings = ConsumerSettings(kafka_bootstrap_servers=bootstrap, s3_bucket="unused")
        table: dict[type[events.EventData], Handler[None]] = {events.ConsentGranted: self.on_granted}
        dispatcher = Dispatcher("lanes", table, tenancy, None, configure_telemetry("test", None), self.policy)
        consumer = Consumer(dispatcher, (events.CURATION,), self.group, settings)
        async with consumer.running():
            yield consumer

    def count(self, prefix: str) -> int:
        return sum(tenant.startswith(prefix) for tenant, _ in self.ended)


@pytest.fixture
async def tenancy(kafka_cluster: KafkaCluster) -> AsyncIterator[Tenancy]:
    client = {"bootstrap_servers": kafka_cluster.bootstrap_servers}
    await apply_topics(client)
    async with KafkaPublisher(client) as publisher:
        yield assemble(MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test")


async def _published(tenancy: Tenancy, tenant: str, count: int, start: int = 1) -> None:
    for number in range(start, start + count):
        await tenancy.outbox.publish(TenantId(tenant), events.ConsentGranted(consent_id="c", version=number))


async def test_a_stuck_tenant_delays_nobody_and_a_restart_repeats_what_had_not_ended_and_nothing_else(
    kafka_cluster: KafkaCluster, tenancy: Tenancy
) -> None:
    handled = Handled()
    tenants = [f"lanes-a-{secrets.token_hex(2)}" for _ in range(8)]
    await _published(tenancy, STUCK, 2)
    for tenant in tenants:
        await _published(tenancy, tenant, 10)
    async with handled.consuming(kafka_cluster.bootstrap_servers, tenancy):

        async def others() -> bool | None:
            return handled.count("lanes-a-") == 80 or None

        await eventually(others, "everybody else's events were handled while one is stuck")
        assert set(handled.begun[STUCK]) == {1}
    # It gave up what was stuck when its handler's deadline was over, and committed what had ended behind it.
    handled.gate.set()
    async with handled.consuming(kafka_cluster.bootstrap_servers, tenancy):

        async def stuck() -> bool | None:
            return handled.count(STUCK) == 2 or None

        await eventually(stuck, "what was stuck is handled by the next process")
        await _published(tenancy, tenants[0], 1, start=11)

        async def one_more() -> bool | None:
            return handled.ended[tenants[0], 11] > 0 or None

        await eventually(one_more, "and what comes after it")
    assert set(handled.ended.values()) == {1}
    assert all(handled.begun[tenant][:10] == list(range(1, 11)) for tenant in tenants)


async def test_a_group_that_grows_and_shrinks_under_load_keeps_the_order_and_handles_each_event_once(
    kafka_cluster: KafkaCluster, tenancy: Tenancy
) -> None:
    handled = Handled()
    handled.gate.set()
    prefix = f"lanes-b-{secrets.token_hex(2)}-"
    tenants = [f"{prefix}{number}" for number in range(12)]
    bootstrap = kafka_cluster.bootstrap_servers
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(handled.consuming(bootstrap, tenancy))
        load = asyncio.create_task(_load(tenancy, tenants, 40))
        async with handled.consuming(bootstrap, tenancy) as second:

            async def shared() -> bool | None:
                held = [c._subscriber.consumer.assignment() for c in (first, second) if c._subscriber.consumer]
                return (all(held) and handled.count(prefix) > 0) or None

            await eventually(shared, "both have partitions")
            await asyncio.sleep(2)
        await load

        async def all_of_them() -> bool | None:
            return handled.count(prefix) == 12 * 40 or None

        await eventually(all_of_them, "every event was handled")
    own = {place: times for place, times in handled.ended.items() if place[0].startswith(prefix)}
    assert set(own.values()) == {1}, "each once: processes that leave and join in good order repeat nothing"
    assert all(handled.begun[tenant] == list(range(1, 41)) for tenant in tenants), "each tenant's in order"


async def test_a_flood_of_many_times_the_memory_delays_nobody_on_its_partition_and_moves_with_it(
    kafka_cluster: KafkaCluster, tenancy: Tenancy
) -> None:
    handled = Handled(LITTLE_MEMORY, flood := f"lanes-c-{secrets.token_hex(2)}")
    prefix, bootstrap = f"lanes-d-{secrets.token_hex(2)}-", kafka_cluster.bootstrap_servers
    bystanders = [f"{prefix}{number}" for number in range(100) if _place(f"{prefix}{number}") == _place(flood)][:4]
    assert len(bystanders) == 4
    await _published(tenancy, flood, 400)
    for tenant in bystanders:
        await _published(tenancy, tenant, 3)
    await _published(tenancy, flood, 200, start=401)

    async def others() -> bool | None:
        return handled.count(prefix) == 12 or None

    async def some() -> bool | None:
        return handled.count(flood) > 50 or None

    async def all_of_it() -> bool | None:
        return handled.count(flood) == 600 or None

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(handled.consuming(bootstrap, tenancy))
        await eventually(others, "the bystanders' events were handled while the flood is stuck before them")
        assert set(handled.begun[flood]) == {1}
        assert first._reading._lanes._memory.records <= LITTLE_MEMORY.lanes.records
        handled.gate.set()
        await eventually(some, "the flood gets on")
        async with handled.consuming(bootstrap, tenancy) as second:

            async def shared() -> bool | None:
                held = [c._subscriber.consumer.assignment() for c in (first, second) if c._subscriber.consumer]
                return all(held) or None

            await eventually(shared, "partitions moved in the midst of the flood")
            await stack.aclose()  # and now all of them move to the other one
            await eventually(all_of_it, "all of the flood was handled")
    own = {place: times for place, times in handled.ended.items() if place[0] == flood or place[0].startswith(prefix)}
    assert set(own.values()) == {1}, "each once"
    assert [number for number in handled.begun[flood] if number > 1] == list(range(2, 601)), "in order"


async def test_what_retention_removes_of_a_flood_is_said_and_not_waited_for(
    kafka_cluster: KafkaCluster, tenancy: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    handled = Handled(LITTLE_MEMORY, flood := f"lanes-e-{secrets.token_hex(2)}")
    bootstrap, place = kafka_cluster.bootstrap_servers, TopicPartition(events.CURATION, _place(flood))
    await _published(tenancy, flood, 300)
    async with handled.consuming(bootstrap, tenancy) as consumer:

        async def left() -> bool | None:
            return (handled.begun.get(flood) == [1] and consumer._reading._lanes.has_left()) or None

        await eventually(left, "it is begun, and most of it is left on the broker")
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            end = consumer._reading._lanes._offsets[tuple(place)].next
            assert end is not None
            await admin.delete_records({place: RecordsToDelete(before_offset=end - 100)})
        finally:
            await admin.close()
        handled.gate.set()

        async def the_rest() -> bool | None:
            return (handled.ended[flood, 300] == 1 and not consumer._reading._lanes.has_left()) or None

        await eventually(the_rest, "what is there was handled")
        await _published(tenancy, flood, 1, start=301)

        async def one_more() -> bool | None:
            return handled.ended[flood, 301] == 1 or None

        await eventually(one_more, "and what comes after it")
    numbers = [number for number in handled.begun[flood] if number > 1]
    assert numbers == sorted(numbers)
    assert set(range(201, 302)) <= set(numbers)
    said = [vars(record)["events"] for record in caplog.records if "retention" in record.message]
    assert sum(said) >= 301 - handled.count(flood) > 0, "and of other tenants, whose events this group reads too"


def _place(tenant: str) -> int:
    numbers = list(range(TOPICS[events.CURATION].partitions))
    return int(DefaultPartitioner()(tenant.encode(), numbers, numbers))


async def _load(tenancy: Tenancy, tenants: list[str], count: int) -> None:
    for number in range(1, count + 1):
        for tenant in tenants:
            await tenancy.outbox.publish(TenantId(tenant), events.ConsentGranted(consent_id="c", version=number))
