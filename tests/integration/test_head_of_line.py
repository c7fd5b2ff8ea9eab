"""What is behind an event that keeps failing, on real Kafka: nothing waits for ever, and nothing is skipped."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.service import Consumer
from consumers.runtime.settings import ConsumerSettings
from deploy.local.kafka import KafkaCluster
from producers.operations.topics import apply_topics
from producers.replay.kafka_log import kafka_log
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.bus.topics import dead_letter_topic
from tenancy.bootstrap import Tenancy, assemble
from tenancy.errors import StoreUnavailable, Transient
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.platform import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

POLICY = HandlingPolicy(
    attempts=1,
    backoff_seconds=0.01,
    redelivery_pause_seconds=0.05,
    deliveries=3,
    consecutive_failures_before_stop=1000,
    session_timeout_ms=6000,
)


class Store(MemoryObjectStore):
    """It can be taken away."""

    is_out = False

    async def exists(self, key: str) -> bool:
        if self.is_out:
            raise StoreUnavailable("the object store answered 503")
        return await super().exists(key)


@dataclass
class Handlers:
    """The export named ``stuck`` never succeeds; the purge named ``stubborn`` only at its sixth attempt."""

    tenant: TenantId
    stuck: int = 0
    stubborn: int = 0
    purged: list[str] = field(default_factory=list)

    async def on_export(self, event: Event, ports: Any) -> Outcome:
        if event.subject == self.tenant and cast(events.ExportRequested, event.data).export_id == "stuck":
            self.stuck += 1
            raise Transient("it does not get on")
        return Outcome.NOOP_STALE

    async def on_purge(self, event: Event, ports: Any) -> Outcome:
        if event.subject != self.tenant:
            return Outcome.NOOP_STALE
        purge = cast(events.PurgeRequested, event.data).purge_id
        if purge == "stubborn":
            self.stubborn += 1
            if self.stubborn < 6:
                raise ValueError("a defect")
        self.purged.append(purge)
        return Outcome.EFFECT


@asynccontextmanager
async def consuming(bootstrap: str, handlers: Handlers, tenancy: Tenancy) -> AsyncIterator[None]:
    settings = ConsumerSettings(kafka_bootstrap_servers=bootstrap, s3_bucket="unused")
    telemetry = configure_telemetry("test", None)
    table: dict[type[events.EventData], Handler[None]] = {
        events.ExportRequested: handlers.on_export,
        events.PurgeRequested: handlers.on_purge,
    }
    dispatcher = Dispatcher("head-of-line", table, tenancy, None, telemetry, POLICY)
    consumer = Consumer(dispatcher, (events.TENANTS,), f"head-of-line.{secrets.token_hex(4)}", settings)
    async with consumer.running():
        yield


async def _letters(bootstrap: str, tenant: TenantId) -> list[tuple[str, str]]:
    """Type and reason of the tenant's dead letters on the topic, of this consumer."""
    async with kafka_log({"bootstrap_servers": bootstrap}) as log:
        ranges = await log.ranges([dead_letter_topic(events.TENANTS)])
        named = [dict(m.headers) async for m in log.messages(ranges) if m.key == tenant.encode()]
    own = [headers for headers in named if headers["dlq_consumer"] == b"head-of-line"]
    return [((h["ce_type"] or b"").decode(), (h["dlq_reason"] or b"").decode()) for h in own]


async def test_a_purge_behind_a_failing_event_is_handled_in_bounds_and_one_that_fails_itself_is_not_skipped(
    kafka_cluster: KafkaCluster,
) -> None:
    bootstrap = kafka_cluster.bootstrap_servers
    await apply_topics({"bootstrap_servers": bootstrap})
    tenant, store = TenantId("head-of-line"), Store()
    handlers = Handlers(tenant)
    async with KafkaPublisher({"bootstrap_servers": bootstrap}) as publisher:
        tenancy = assemble(store, KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test")
        await tenancy.outbox.publish(tenant, events.ExportRequested(export_id="stuck", requested_by="op"))
        for purge in ("stubborn", "p-1"):
            command = events.PurgeRequested(purge_id=purge, reason_code="test", requested_by="op")
            await tenancy.outbox.publish(tenant, command)

        store.is_out = True
        async with consuming(bootstrap, handlers, tenancy):

            async def tried() -> bool | None:
                return handlers.stuck >= 4 * POLICY.deliveries or None

            await eventually(tried, "the failing event was delivered many times")
            assert await _letters(bootstrap, tenant) == [], "an outage dead-letters nothing"
            assert handlers.purged == [], "and nothing is passed over"
            store.is_out = False

            async def both() -> bool | None:
                return len(handlers.purged) >= 2 or None

            await eventually(both, "both purges were handled")
    assert handlers.purged == ["p-1", "stubborn"], "the one that failed went to the back"
    assert await _letters(bootstrap, tenant) == [("sano.export.requested", "keeps-failing")]
