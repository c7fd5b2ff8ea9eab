"""Every service at its work under its own principal, on Apache Kafka with TLS, passwords and an authorizer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.service import Consumer
from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.signatures import Signatures
from deploy.local.key_files import ensure_key
from deploy.local.services import PROJECT_ROOT
from inference.adapters.pins import Pins
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.agent import AgentPorts
from inference.replica.lease import ReplicaLease
from inference.settings import InferenceSettings
from inference.tenants.binding import TenantStateCache
from inference.tenants.usage import UsageMeter, UsageReporter
from inference.wiring import HANDLERS
from producers.commands import requests
from producers.commands.exporting import export_adapter
from producers.commands.onboarding import onboard
from producers.operations.trust_admin import ensure_keys
from producers.queries import purges, usage
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from producers.replay.kafka_log import kafka_log
from producers.settings import OperatorSettings
from producers.sources.importing import import_approvals
from schemas.bus import events
from schemas.bus.access import SERVICES
from schemas.bus.asyncapi import consumer_group
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.bus.topics import LIVE_TOPICS, TOPICS
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import key_file
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import assemble, open_tenancy, signer, trust
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.platform.clock import utc_now
from tenancy.platform.settings import PlatformSettings
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import gate_of_tests
from tests.fixtures.otlp_sink import OtlpSink
from tests.fixtures.platform import Platform, eventually, running
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.services import new_bucket
from tests.fixtures.walled import ALLOW, GROUP, LITERAL, READ, TOPIC, WRITE, Walled, readable, without_acl
from tests.world.fakes import FakeEngine, FakeFiles

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DATA = PROJECT_ROOT / "deploy" / "local" / "data"
TENANT = TenantId("walled")
REPLICA = "replica-walled"
BOUND_SECONDS = 60.0
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)
POLICY = TenantPolicy(min_new_examples=2, min_training_examples=2, hyperparameters=ONE_STEP)
POLICY_OF_LOADS = ResidencyPolicy(max_resident=4, idle_seconds=60.0)
DEAD_LETTERS = [name for name in TOPICS if name not in LIVE_TOPICS]


@asynccontextmanager
async def curation(settings: ConsumerSettings, client: dict[str, Any], handled: list[str]) -> AsyncIterator[None]:
    """The curation service's consumer, which only notes the consents that it is given."""

    async def note(event: Event, ports: Any) -> Outcome:
        handled.append(cast(events.ConsentGranted, event.data).consent_id)
        return Outcome.EFFECT

    async with KafkaPublisher(client) as publisher:
        tenancy = assemble(MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test")
        telemetry = configure_telemetry("test", None)
        table: dict[type[events.EventData], Handler[None]] = {events.ConsentGranted: note}
        dispatcher = Dispatcher("curation", table, tenancy, None, telemetry, settings.handling_policy())
        async with Consumer(dispatcher, (events.CURATION,), consumer_group("curation"), settings).running():
            yield


async def test_a_service_does_not_start_without_its_rights_and_one_that_loses_them_goes_on_once_they_are_back(
    walled_kafka: Walled,
) -> None:
    tenant = f"consents-{secrets.token_hex(4)}"
    own = walled_kafka.principal("curation")
    settings = walled_kafka.settings(ConsumerSettings, "sano-curation")
    of_group = (GROUP, consumer_group("curation"), LITERAL, "User:sano-curation", "*", READ, ALLOW)
    of_topic = (TOPIC, events.CURATION, LITERAL, "User:sano-curation", "*", READ, ALLOW)
    of_publication = (TOPIC, events.CURATION, LITERAL, "User:sano-curation", "*", WRITE, ALLOW)
    handled: list[str] = []

    async def granted(consent: str) -> None:
        data = events.ConsentGranted(consent_id=consent, version=1)
        async with KafkaPublisher(walled_kafka.principal("ehr")) as ehr:
            await ehr.publish(Event(subject=tenant, data=data, time=utc_now(), source="/test"))

    async def seen(consent: str) -> bool | None:
        return consent in handled or None

    # It publishes to the topic too, and who may write to a topic may ask for its partitions.
    async with without_acl(walled_kafka, of_topic), without_acl(walled_kafka, of_publication):
        with pytest.raises(TopicAuthorizationFailedError):
            async with curation(settings, own, handled):
                pass
    async with without_acl(walled_kafka, of_group):
        with pytest.raises(GroupAuthorizationFailedError):
            async with curation(settings, own, handled):
                pass
    async with curation(settings, own, handled):
        await granted("before")
        await eventually(lambda: seen("before"), "the consumer is at work", BOUND_SECONDS)
        async with without_acl(walled_kafka, of_topic):

            async def is_taken_away() -> bool | None:
                return events.CURATION not in await readable(own) or None

            await eventually(is_taken_away, "the right is gone", BOUND_SECONDS)
            await asyncio.sleep(2.0)  # a fetch that waits on the broker was let in before
            await granted("meanwhile")
            await asyncio.sleep(2.0)
            assert "meanwhile" not in handled
        await eventually(lambda: seen("meanwhile"), "what came meanwhile was handled", BOUND_SECONDS)


@pytest.fixture(scope="module")
def walled(
    walled_kafka: Walled,
    seaweedfs: SeaweedFS,
    telemetry: OtlpSink,
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("walled")
    ensure_key(home / "master.key")
    ensure_keys(home)
    bucket = new_bucket(seaweedfs, f"walled-{secrets.token_hex(4)}")
    arguments = (home, walled_kafka.cluster, seaweedfs, bucket, home, telemetry)
    with running(*arguments, access=walled_kafka.access, SANO_BASE_MODEL=str(tiny_base)) as held:
        yield held


@asynccontextmanager
async def replica(walled: Platform, walled_kafka: Walled) -> AsyncIterator[tuple[FakeEngine, Placement]]:
    """A replica's agent, lease and usage under the replicas' principal; only the engine is a fake."""
    own = {
        "receipt_key": str(walled.home / "receipt.pem"),
        "event_key": str(key_file(walled.home, Purpose.EVENT, "inference")),
    }
    keys = {**installation(walled), **own, "base_model": "none"}
    settings = walled_kafka.settings(InferenceSettings, "sano-inference", keys)
    async with open_tenancy(settings, "inference") as tenancy:
        engine = FakeEngine()
        placement = Placement(engine, FakeFiles(), Residency(POLICY_OF_LOADS, lambda: 0.0), 0.0, lambda: 0.0)
        lease = ReplicaLease(tenancy, REPLICA, "b" * 64, 600.0, tenancy.clock())
        views = TenantStateCache(tenancy, 0.0, lambda: 0.0)
        receipts, indexes = signer(settings, Purpose.RECEIPT), LoadedIndexes(2**24)
        ports = AgentPorts(tenancy, receipts, views, placement, lease, indexes, Pins(0))
        await lease.register()
        meter = UsageMeter()
        meter.tokens(TENANT, 3, 5)
        await UsageReporter(meter, tenancy).report()
        telemetry = configure_telemetry("test", None)
        policy = settings.handling_policy()
        dispatcher = Dispatcher(
            "inference",
            HANDLERS,
            tenancy,
            ports,
            telemetry,
            policy,
            replica=REPLICA,
            signatures=Signatures.of(settings),
        )
        async with Consumer(dispatcher, (events.ADAPTERS, events.TENANTS), dispatcher.reader, settings).running():
            yield engine, placement


def installation(walled: Platform) -> dict[str, Any]:
    """What everybody of the installation shares: the bucket and the keys."""
    return walled.settings.model_dump(exclude_none=True, include=set(PlatformSettings.model_fields))


async def test_every_service_does_its_work_under_its_own_principal(
    walled: Platform, walled_kafka: Walled, tmp_path: Path
) -> None:
    """From the onboarding to the certificate of the purge. Nobody is refused anything on the way."""
    lines = (DATA / "oncology.train.jsonl").read_text().splitlines(keepends=True)[:3]
    (tmp_path / "approvals.jsonl").write_text("".join(lines))
    async with walled.tenancy() as tenancy:
        await onboard(tenancy, TENANT, POLICY, requested_by="op-1")
        importer = walled_kafka.settings(OperatorSettings, "sano-import", installation(walled))
        async with open_tenancy(importer, "import") as importing:
            await import_approvals(tmp_path / "approvals.jsonl", TENANT, importing, gate_of_tests)

        async def active() -> str | None:
            return (await tenancy.states.read(TENANT)).state.active_adapter

        adapter = await eventually(active, "curation, training and adapters did their part")
        async with replica(walled, walled_kafka) as (engine, placement):
            async with placement.held(TENANT, adapter):
                pass
            taken = await export_adapter(
                tenancy,
                TENANT,
                tmp_path / "taken",
                trust(walled.settings),
                requested_by="op-1",
                timeout_seconds=BOUND_SECONDS,
            )
            assert taken.adapter_digest == adapter

            async def used() -> bool | None:
                return {use.source for use in await usage.usage(tenancy, TENANT)} == {"inference", "training"} or None

            await eventually(used, "the ledger counted what the replica and the worker published")
            await tenancy.outbox.publish(TENANT, events.DocumentRemoved(document_id="d1", version=1))

            async def noted() -> bool | None:
                return (await tenancy.states.read(TENANT)).state.knowledge is not None or None

            await eventually(noted, "the removal of a document is noted")
            await requests.churn(tenancy, TENANT, requested_by="op-1")

            async def certified() -> purges.PurgeView | None:
                found = [view for view in (await purges.purges(tenancy)).views if view.tenant == TENANT]
                return next((view for view in found if view.step == "certified"), None)

            purge = await eventually(certified, "the purge is certified")
        assert engine.loaded() == (), "the replica read the fence in its own group"
        record = await PurgeRecords(tenancy.objects, tenancy.clock).read(TENANT, purge.purge_id)
        assert set(record.receipts) == {REPLICA}

        async def entered() -> bool | None:
            kinds = {entry.kind for entry in entries_of(await read_copy(tenancy, TENANT))}
            return kinds >= {"tenant.onboarded", "adapter.activated", "export.ready", "purge.completed"} or None

        await eventually(entered, "the ledger entered all of it")
    await nobody_was_refused(walled)


async def nobody_was_refused(walled: Platform) -> None:
    """The operators read the outcomes and the dead letters; the services' logs tell the rest."""
    async with kafka_log(walled.settings.kafka_client()) as log:
        outcomes = [m async for m in log.messages(await log.ranges([events.OUTCOMES])) if m.key == TENANT.encode()]
        letters = [m async for m in log.messages(await log.ranges(DEAD_LETTERS)) if m.key == TENANT.encode()]
    consumers = {json.loads(message.value or b"")["consumer"] for message in outcomes}
    assert {consumer.partition(".")[0] for consumer in consumers} == set(SERVICES), "a replica's name comes after a dot"
    assert letters == []
    for name in walled.processes:
        text = (walled.home / f"{name}.log").read_text()
        assert "AuthorizationFailed" not in text and "bus-refused" not in text, name
