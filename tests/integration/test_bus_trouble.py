"""What a real Kafka does to consumers: rebalances, broker restarts, stops; and the trace that goes through it."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.kafka import KafkaCluster
from deploy.local.ports import LOOPBACK
from deploy.local.services import Service
from producers.demo.redelivery import read_all
from producers.replay.kafka_log import kafka_log
from schemas.bus import events
from schemas.bus.envelope import Event, decode
from schemas.bus.outcome import Outcome
from schemas.objects.state import TenantState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.platform.clock import utc_now
from tenancy.tenant_id import TenantId
from tests.fixtures import write_audit
from tests.fixtures.history import approvals, onboarded
from tests.fixtures.platform import Platform, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)


@pytest.fixture
async def tenancy(platform: Platform) -> AsyncIterator[Tenancy]:
    async with platform.tenancy() as connected:
        yield connected


async def _with_examples(tenancy: Tenancy, name: str, count: int, policy: TenantPolicy) -> TenantId:
    tenant = await onboarded(tenancy, TenantId(name), policy)
    await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))
    for approval in await approvals(tenancy, tenant, count):
        await tenancy.outbox.publish(tenant, approval)
    return tenant


async def _partitions_of_members(platform: Platform, group: str) -> list[int] | None:
    """How many partitions each member of a group has, smallest first, once the group is settled."""
    admin = AIOKafkaAdminClient(**platform.settings.kafka_client())
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    [described] = answer.to_object()["groups"]
    if described["state"] != "Stable":
        return None
    held = [ConsumerProtocolMemberAssignment.decode(member["member_assignment"]) for member in described["members"]]
    return sorted(sum(len(partitions) for _, partitions in one.assignment) for one in held)


async def _generation(platform: Platform, group: str) -> int:
    """The latest generation of a group, as its coordinator has noted it (Kafka's GroupMetadataValue)."""
    key = struct.pack(">hh", 2, len(group)) + group.encode()
    async with kafka_log(platform.settings.kafka_client()) as log:
        found = log.messages(await log.ranges(["__consumer_offsets"]))
        noted = [message.value async for message in found if message.key == key and message.value is not None]
    (length,) = struct.unpack_from(">h", noted[-1], 2)
    generation: int = struct.unpack_from(">i", noted[-1], 4 + length)[0]
    return generation


@dataclass(frozen=True)
class HeldJob:
    """A training service whose worker waits at the end of its steps, under its lease, until ``gate`` is removed."""

    gate: Path
    settings: dict[str, str]


@pytest.fixture(scope="module")
def training(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldJob]:
    gate = tmp_path_factory.mktemp("training") / "gate"
    # The lease is as long as in production: a worker that waits for a processor may not lose it, or begins again.
    job = HeldJob(gate, {write_audit.GATE: str(gate), "SANO_LEASE_SECONDS": "30"})
    platform.restart("training", **job.settings)
    yield job
    platform.restart("training")


@pytest.fixture
def held_job(training: HeldJob) -> Iterator[HeldJob]:
    training.gate.touch()
    yield training
    training.gate.unlink(missing_ok=True)


async def _trained(tenancy: Tenancy, tenant: TenantId, wanted: str) -> TenantState | None:
    """The tenant's state, if its first run is in that status."""
    state = (await tenancy.states.read(tenant)).state
    run = state.runs.get("batch-1")
    return state if run is not None and run.status == wanted else None


TRAINS = TenantPolicy(min_new_examples=3, min_training_examples=2, hyperparameters=ONE_STEP)


async def test_a_rebalance_during_a_job_runs_it_once_and_publishes_once(
    platform: Platform, tenancy: Tenancy, held_job: HeldJob
) -> None:
    async def members(count: int) -> bool | None:
        assigned = await _partitions_of_members(platform, "training.v1")
        return (assigned is not None and len(assigned) == count and assigned[0] > 0) or None

    second = Service("training-2", "consumers.training.app")
    await eventually(lambda: members(1), "the consumer that was killed has left the group")
    tenant = await _with_examples(tenancy, "rebalance", 3, TRAINS)
    await eventually(lambda: _trained(tenancy, tenant, "running"), "the worker started")
    before = await _generation(platform, "training.v1")
    try:
        platform.start(second, **held_job.settings)  # joins the group: every partition is revoked
        await eventually(lambda: members(2), "both consumers have partitions")
        assert await _generation(platform, "training.v1") > before
        assert await _trained(tenancy, tenant, "running"), "the job is open all the while"
        held_job.gate.unlink()
        state = await eventually(lambda: _trained(tenancy, tenant, "completed"), "the run was completed")
    finally:
        platform.processes.pop("training-2").kill()  # and leaves it
    assert (state.runs["batch-1"].attempts, state.fence) == (1, 1)
    assert len(state.adapters) == 1
    messages = await read_all(platform.settings.kafka_client(), [events.TRAINING, events.ADAPTERS], tenant)
    # A swap's events may be sent again by a second runner, as the same events: the id tells.
    sent = {(headers["ce_type"], headers["ce_id"]) for headers in (dict(m.headers) for m in messages)}
    types = [kind for kind, _ in sent]
    for once in (b"sano.training.started", b"sano.training.completed", b"sano.adapter.ready"):
        assert types.count(once) == 1, types


async def test_a_polite_stop_in_the_middle_of_a_training_uses_no_attempt(
    platform: Platform, tenancy: Tenancy, held_job: HeldJob
) -> None:
    """What a deployment and the drain of a node do: SIGTERM to the service, which passes it on to its worker."""
    log = platform.home / "training.log"
    earlier = log.stat().st_size

    async def said(message: str) -> bool | None:
        return f'"message": "{message}"'.encode() in log.read_bytes()[earlier:] or None

    tenant = await _with_examples(tenancy, "drained", 3, TRAINS)
    await eventually(lambda: said("training step"), "the worker made its step")
    service = platform.processes["training"]
    service.terminate()
    await eventually(lambda: said("shutdown requested"), "the worker was asked to end")
    assert await _trained(tenancy, tenant, "running")
    held_job.gate.unlink()
    assert await asyncio.to_thread(service.wait_exit, 60) == 0
    state = await _trained(tenancy, tenant, "queued")
    assert state is not None
    assert (state.runs["batch-1"].attempts, state.fence, len(state.adapters)) == (0, 1, 0)
    store = await tenancy.store(tenant)
    assert [key async for key in store.list("staging")] == []
    assert list((platform.work_dir("training") / "scratch").iterdir()) == []
    platform.restart("training", **held_job.settings)
    state = await eventually(lambda: _trained(tenancy, tenant, "completed"), "the next attempt completed the run")
    assert (state.runs["batch-1"].attempts, state.fence, len(state.adapters)) == (1, 2, 1)


async def test_a_broker_restart_in_the_middle_loses_nothing(
    platform: Platform, tenancy: Tenancy, consumers_kafka: KafkaCluster
) -> None:
    policy = TenantPolicy(min_new_examples=1000)
    tenant = await _with_examples(tenancy, "broker-restart", 10, policy)
    later = await approvals(tenancy, tenant, 10, start=10)
    restart = asyncio.create_task(asyncio.to_thread(consumers_kafka.restart_broker, 0))
    for approval in later:
        await tenancy.outbox.publish(tenant, approval)
        await asyncio.sleep(0.2)
    await restart

    async def curated() -> TenantState | None:
        state = (await tenancy.states.read(tenant)).state
        return state if len(state.curation.fresh) == 20 else None

    state = await eventually(curated, "all twenty examples were curated")
    assert len({held.example_id for held in state.curation.fresh}) == 20


async def test_a_polite_stop_finishes_and_commits(platform: Platform, tenancy: Tenancy) -> None:
    tenant = await _with_examples(tenancy, "polite-stop", 5, TenantPolicy(min_new_examples=1000))

    async def curated() -> bool | None:
        return len((await tenancy.states.read(tenant)).state.curation.fresh) == 5 or None

    await eventually(curated, "the examples were curated")
    process = platform.processes["curation"]
    process.terminate()
    assert await asyncio.to_thread(process.wait_exit, 60) == 0
    outcomes_before = await _handled(platform, tenant)
    platform.restart("curation")
    for approval in await approvals(tenancy, tenant, 1, start=5):
        await tenancy.outbox.publish(tenant, approval)

    async def six() -> bool | None:
        return len((await tenancy.states.read(tenant)).state.curation.fresh) == 6 or None

    await eventually(six, "the next example was curated")

    async def told() -> int | None:
        told = await _handled(platform, tenant)
        return told if told > outcomes_before else None

    # Everything before the stop was committed: only the one new event was handled after it.
    assert await eventually(told, "the outcome was published") == outcomes_before + 1


async def _handled(platform: Platform, tenant: TenantId) -> int:
    """How often the curation consumer has told what it made of an event of the tenant."""
    messages = await read_all(platform.settings.kafka_client(), [events.OUTCOMES], tenant)
    told = [decode(message.key, message.value, message.headers).data for message in messages]
    return sum(isinstance(data, events.OutcomeRecorded) and data.consumer == "curation" for data in told)


@dataclass
class Collector:
    """An OTLP/HTTP collector that keeps what it is sent."""

    url: str
    bodies: dict[str, list[bytes]] = field(default_factory=dict)


@pytest.fixture
def collector() -> Iterator[Collector]:
    held: dict[str, list[bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Collector(f"http://127.0.0.1:{server.server_port}", held)
    server.shutdown()
    thread.join()


async def test_a_trace_goes_through_the_bus_and_to_the_collector(
    platform: Platform, tenancy: Tenancy, collector: Collector
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    platform.restart("curation", SANO_OTLP_ENDPOINT=collector.url)
    try:
        policy = TenantPolicy(min_new_examples=2, min_training_examples=50)
        tenant = await _with_examples(tenancy, "traced", 1, policy)
        for approval in await approvals(tenancy, tenant, 1, start=1):
            event = Event(
                subject=tenant,
                data=approval,
                time=utc_now(),
                source="/test",
                traceparent=f"00-{trace_id}-00f067aa0ba902b7-01",
            )
            await tenancy.publisher.publish(event)

        async def asked() -> bytes | None:
            found = await read_all(platform.settings.kafka_client(), [events.TRAINING], tenant)
            headers = [dict(message.headers) for message in found]
            asked = [h for h in headers if h["ce_type"] == b"sano.training.requested"]
            return asked[0]["traceparent"] if asked else None

        traceparent = await eventually(asked, "training was asked for")
        assert trace_id.encode() in traceparent, "the trace of the last approval goes on in what it led to"

        async def exported() -> bool | None:
            return any(bytes.fromhex(trace_id) in body for body in collector.bodies.get("/v1/traces", ())) or None

        await eventually(exported, "the span reached the collector")
        spans = b"".join(collector.bodies["/v1/traces"])
        for secret in (b"traced", b"Question number", b"Answer number", b"rev-1"):
            assert secret not in spans, "spans carry neither tenant nor content nor reviewer"
    finally:
        platform.restart("curation")


async def test_health_and_metrics_tell_of_progress(platform: Platform, tenancy: Tenancy) -> None:
    address = f"http://{LOOPBACK}:{platform.ports['curation']}"
    handled = {"type": "sano.consent.granted", "outcome": str(Outcome.EFFECT)}
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:

        async def count() -> float:
            answer = await client.get("/metrics")
            assert answer.status_code == 200
            families = text_string_to_metric_families(answer.text)
            samples = [sample for family in families for sample in family.samples]
            assert not any("tenant" in sample.labels for sample in samples)
            return sum(
                sample.value
                for sample in samples
                if sample.name == "sano_bus_events_total" and handled.items() <= sample.labels.items()
            )

        before = await count()
        tenant = await onboarded(tenancy, TenantId("counted"), TenantPolicy())
        await tenancy.outbox.publish(tenant, events.ConsentGranted(consent_id="c-1", version=1))

        async def rose() -> float | None:
            now = await count()
            return now if now > before else None

        assert await eventually(rose, "the event was counted") == before + 1
        for route, told in (("/health/live", {"alive": True}), ("/health/ready", {"ready": True})):
            answer = await client.get(route)
            assert (answer.status_code, answer.json()) == (200, told)
    log = (platform.home / "curation.log").read_text().splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    assert any(line["message"] == "handled" for line in lines)
    assert all("tenant" not in line for line in lines)
