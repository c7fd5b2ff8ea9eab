"""An event that kills its consumer each time, with a real consumer, real SIGKILLs, Kafka and object store.

What is noted and when is tried in ``tests/unit/test_crash_loops.py``.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.runtime.policy import HANDLING
from deploy.local.embedded import REGION
from deploy.local.kafka import KafkaCluster
from deploy.local.key_files import ensure_key
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.processes import ChildProcess, Command
from deploy.local.services import PROJECT_ROOT
from deploy.local.settings import inherited_environment
from producers.operations.topics import apply_topics
from producers.operations.trust_admin import ensure_keys
from producers.replay.kafka_log import kafka_log
from producers.settings import OperatorSettings
from schemas.bus import events
from schemas.bus.topics import dead_letter_topic
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, key_file
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import open_tenancy
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.fixtures import forked
from tests.fixtures.history import onboarded
from tests.fixtures.seaweedfs import SeaweedFS
from tests.fixtures.services import new_bucket
from tests.world.crashing import argv_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

BOUND_SECONDS = 60.0
DIES_AT = "before:put:consents"


@dataclass(frozen=True)
class Stand:
    home: Path
    settings: OperatorSettings
    environment: dict[str, str]

    def consumer(self, crash_at: str) -> ChildProcess:
        """The curation consumer, which kills itself when it gets to that effect."""
        own = {"SANO_HEALTH_PORT": str(free_ports(1)[0])}
        argv = argv_of("consumers.curation.app", crash_at)
        environment = {**self.environment, **own}
        return forked.start(Command("curation", argv, self.home / "curation.log", environment, cwd=self.home))


@pytest.fixture
def stand(
    tmp_path: Path,
    kafka_jars: Path,
    seaweedfs: SeaweedFS,
) -> Iterator[Stand]:
    ensure_key(tmp_path / "master.key")
    ensure_keys(tmp_path)
    # A cluster of its own: the consumers of the other tests are in the same group.
    config = {"group.min.session.timeout.ms": "1000"}
    with KafkaCluster(kafka_jars, tmp_path / "kafka", config=config) as kafka:
        settings = OperatorSettings(
            kafka_bootstrap_servers=kafka.bootstrap_servers,
            s3_endpoint_url=seaweedfs.endpoint_url,
            s3_bucket=new_bucket(seaweedfs, f"ends-{secrets.token_hex(4)}"),
            aws_access_key_id=seaweedfs.credentials.access_key_id,
            aws_secret_access_key=seaweedfs.credentials.secret_access_key,
            master_key_file=tmp_path / "master.key",
            trust_file=tmp_path / TRUST_FILE,
            trust_root_file=tmp_path / ROOT_PUBLIC_FILE,
            event_key=str(key_file(tmp_path, Purpose.EVENT, "operators")),
        )
        environment = {
            **inherited_environment(),
            "PYTHONPATH": str(PROJECT_ROOT),
            "SANO_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "SANO_S3_ENDPOINT_URL": seaweedfs.endpoint_url,
            "SANO_S3_BUCKET": settings.s3_bucket,
            "SANO_MASTER_KEY_FILE": str(tmp_path / "master.key"),
            "SANO_TRUST_FILE": str(tmp_path / TRUST_FILE),
            "SANO_TRUST_ROOT_FILE": str(tmp_path / ROOT_PUBLIC_FILE),
            "SANO_EVENT_KEY": str(key_file(tmp_path, Purpose.EVENT, "curation")),
            "SANO_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "NO_PROXY": LOOPBACK,
            "AWS_ACCESS_KEY_ID": seaweedfs.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": seaweedfs.credentials.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        yield Stand(tmp_path, settings, environment)


async def _letters(stand: Stand) -> list[tuple[bytes | None, bytes | None]]:
    async with kafka_log(stand.settings.kafka_client()) as log:
        found = log.messages(await log.ranges([dead_letter_topic(events.CURATION)]))
        headers = [dict(message.headers) async for message in found]
    return [(held["ce_type"], held["dlq_reason"]) for held in headers]


async def _handled_or_dead(stand: Stand, store: TenantStore) -> bool:
    """One consumer process: whether it got to what is behind the event, or was killed by the event."""
    consumer = stand.consumer(DIES_AT)
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            while consumer.is_running():
                if await store.exists(object_keys.example("e-1")):
                    return True
                await asyncio.sleep(0.1)
        assert consumer.wait_exit(0.0) == -signal.SIGKILL
        return False
    finally:
        consumer.stop()


async def test_an_event_that_kills_its_consumer_each_time_is_passed_over_and_what_is_behind_it_is_handled(
    stand: Stand,
) -> None:
    await apply_topics(stand.settings.kafka_client())
    deaths = 0
    async with open_tenancy(stand.settings, "test") as tenancy:
        tenant = await onboarded(tenancy, TenantId("ends"), TenantPolicy())
        store = await tenancy.store(tenant)
        await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
        behind = events.ExampleRejected(example_id="e-1", version=1, reviewer_id="rev-1", reason_code="unclear")
        await tenancy.outbox.publish(tenant, behind)
        while not await _handled_or_dead(stand, store):
            assert await _letters(stand) == []
            deaths += 1
            assert deaths <= HANDLING.ended_processes
        notes = [key async for key in tenancy.objects.keys(object_keys.IN_HAND_PREFIX)]
        assert not await store.exists(object_keys.consent("c-1"))
    assert deaths == HANDLING.ended_processes
    assert await _letters(stand) == [(b"sano.consent.granted", b"ends-its-process")]
    assert notes == []
