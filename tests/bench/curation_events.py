"""Approvals through the real curation consumer, against a bare aiokafka and boto3 loop that does the same writes.

Both sides are processes of their own on the same broker and the same S3. In each round one side gets a batch of
approvals that lie on its topic within a moment; its rate is counted between the broker's own timestamps
(``LogAppendTime``) of the first and the last outcome.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumers.curation.handlers import on_example_approved
from deploy.local.ports import free_ports
from deploy.local.processes import ChildProcess, Command, start
from deploy.local.services import is_ready
from producers.operations.topics import apply_topics
from schemas.bus.envelope import Event, decode, encode
from schemas.bus.events import CURATION, OUTCOMES, OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.topics import TOPICS
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.bench import bare_loop, histories
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.stand import (
    KeyFiles,
    RequestCount,
    Store,
    child_environment,
    kafka,
    object_store,
    processor_seconds,
)

TENANTS = tuple(f"bench-{number}" for number in range(4))
READY_SECONDS = 120.0
EVENT_SECONDS = 1.0  # a round in which an event takes longer than this is ended as a failure
PEER_EVENTS, PEER_TRAINING, PEER_OUTCOMES = "bench.curation.v1", "bench.training.v1", "bench.outcomes.v1"


@dataclass
class Contestant:
    """One side: its topics, its process, and how content gets where an approval of it will look."""

    name: str
    events: str
    outcomes: str
    upload: Callable[[TenantId, str], Any]
    process: ChildProcess
    consumer_ms: list[float] = field(default_factory=list)
    store_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PlainUpload:
    """The peer's objects: the same fields, as plain JSON in a bucket of its own."""

    objects: ObjectStore
    tenancy: Tenancy

    async def onboard(self, name: str, policy: TenantPolicy) -> None:
        """The sealed tenant's state and consent, and an object of the key record's size, which the loop reads."""
        tenant = TenantId(name)
        state = TenantState(tenant=tenant, nonce="first", policy=policy)
        await self.objects.put(object_keys.state_key(tenant), state.model_dump_json().encode())
        key = await self.tenancy.objects.get(object_keys.key_key(tenant))
        await self.objects.put(object_keys.key_key(tenant), key.body)
        consent = object_keys.tenant_key(tenant, object_keys.consent(histories.CONSENT))
        await self.objects.put(consent, b'{"consent_id":"%s","granted":true}' % histories.CONSENT.encode())

    async def upload(self, tenant: TenantId, example_id: str) -> Event:
        held = histories.content(example_id)
        key = object_keys.tenant_key(tenant, object_keys.content(example_id, 1))
        await self.objects.put(key, held.model_dump_json().encode())
        return histories.approval(self.tenancy, tenant, example_id, held)


def run(options: Options, home: Path) -> Result:
    with ExitStack() as stack:
        cluster = stack.enter_context(kafka(home))
        store = stack.enter_context(object_store(home))
        return asyncio.run(_measure(options, home, cluster.bootstrap_servers, store, stack))


ENTRY = Entry("curation_events", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


async def _measure(options: Options, home: Path, bootstrap: str, store: Store, stack: ExitStack) -> Result:
    async with asyncio.timeout(ENTRY_SECONDS):
        keys = KeyFiles.made(home)
        await apply_topics({"bootstrap_servers": bootstrap})
        await _make_topics(bootstrap)
        ours_bucket, peer_bucket = store.bucket("ours"), store.bucket("peer")
        policy = TenantPolicy()
        master = KeyFileMasterKey.read(keys.master)
        tenancy = assemble(store.objects(ours_bucket), master, RecordingPublisher(), "/sanolith/bench")
        plain = PlainUpload(store.objects(peer_bucket), tenancy)
        for name in TENANTS:
            await histories.onboarded(tenancy, name, policy)
            await plain.onboard(name, policy)

        async def upload(tenant: TenantId, example_id: str) -> Event:
            return await histories.uploaded(tenancy, tenant, example_id)

        ours_process = _start_curation(home, bootstrap, store, ours_bucket, keys)
        stack.callback(ours_process.stop)
        peer_process = _start_peer(home, bootstrap, store, peer_bucket)
        stack.callback(peer_process.stop)
        ours = Contestant("ours", CURATION, OUTCOMES, upload, ours_process)
        peer = Contestant("peer", PEER_EVENTS, PEER_OUTCOMES, plain.upload, peer_process)
        events = 16 if options.quick else 200
        async with _producer(bootstrap) as producer:
            for contestant in (ours, peer):
                await _round(contestant, producer, bootstrap, store, "warm", 2 * len(TENANTS))
                contestant.consumer_ms.clear()
                contestant.store_ms.clear()

            def step(contestant: Contestant) -> Step:
                return lambda number: _round(contestant, producer, bootstrap, store, f"r{number}", events)

            rates = await interleaved(options.rounds, {"ours": step(ours), "peer": step(peer)})
        requests = await _requests(store, master, policy)
    return Result(
        entry=ENTRY.name,
        question="How many approvals a second does one curation consumer handle, next to a loop that does only the "
        "reads, writes and publications?",
        better="higher",
        ours=Side(
            "python -m consumers.curation.app",
            "per approval 5 GETs, a conditional swap of state.json, a conditional create of the example's record and "
            "one acknowledged outcome; every 64th also a training.requested event and a second swap. Objects under the "
            "tenant's prefix are sealed; types, tenant and commitment are checked; FastStream, deadline, retries, "
            "log line, span and metrics; commits each offset.",
            Measured("events/s", rates["ours"]),
        ),
        peer=Side(
            "aiokafka + boto3, tests/bench/bare_loop.py",
            "the same requests with the same preconditions and the same messages; plain JSON objects, no checks, no "
            "retries, no telemetry, boto3 called without a thread; commits each offset.",
            Measured("events/s", rates["peer"]),
        ),
        more={
            "processor time of our consumer, per event": Measured("ms", tuple(ours.consumer_ms)),
            "processor time of the bare loop, per event": Measured("ms", tuple(peer.consumer_ms)),
            "processor time of the object store under our consumer, per event": Measured("ms", tuple(ours.store_ms)),
            "processor time of the object store under the bare loop, per event": Measured("ms", tuple(peer.store_ms)),
        },
        facts={
            "events in a round": events,
            "tenants": len(TENANTS),
            "S3 requests of 64 approvals, a whole batch, the same on both sides": requests,
        },
    )


async def _make_topics(bootstrap: str) -> None:
    """The peer's topics, like ours."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        like = TOPICS[CURATION]
        made = [
            NewTopic(name, like.partitions, 1, topic_configs=like.config(1))
            for name in (PEER_EVENTS, PEER_TRAINING, PEER_OUTCOMES)
        ]
        await admin.create_topics(made)
    finally:
        await admin.close()


@asynccontextmanager
async def _producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def _start_curation(home: Path, bootstrap: str, store: Store, bucket: str, keys: KeyFiles) -> ChildProcess:
    port = free_ports(1)[0]
    environment = child_environment(
        SANO_KAFKA_BOOTSTRAP_SERVERS=bootstrap,
        SANO_S3_ENDPOINT_URL=store.endpoint_url,
        SANO_S3_BUCKET=bucket,
        SANO_MASTER_KEY_FILE=str(keys.master),
        SANO_SIGNING_KEY_FILE=str(keys.signing),
        SANO_VERIFY_KEY_FILE=str(keys.verify),
        SANO_HEALTH_PORT=str(port),
        SANO_WORK_DIR=str(home / "work"),
        AWS_ACCESS_KEY_ID=store.credentials.access_key_id,
        AWS_SECRET_ACCESS_KEY=store.credentials.secret_access_key,
    )
    argv = [sys.executable, "-m", "consumers.curation.app"]
    process = start(Command("curation", argv, home / "curation.log", environment, cwd=home), tie_to_parent=True)
    try:
        process.wait_ready(lambda: is_ready(port), READY_SECONDS)
    except BaseException:
        process.kill()
        raise
    return process


def _start_peer(home: Path, bootstrap: str, store: Store, bucket: str) -> ChildProcess:
    environment = child_environment(
        AWS_ACCESS_KEY_ID=store.credentials.access_key_id,
        AWS_SECRET_ACCESS_KEY=store.credentials.secret_access_key,
    )
    options = {
        "--bootstrap": bootstrap,
        "--endpoint": store.endpoint_url,
        "--bucket": bucket,
        "--events": PEER_EVENTS,
        "--training": PEER_TRAINING,
        "--outcomes": PEER_OUTCOMES,
    }
    argv = [sys.executable, "-m", bare_loop.__name__, *(word for pair in options.items() for word in pair)]
    return start(Command("bare-loop", argv, home / "bare-loop.log", environment, cwd=home), tie_to_parent=True)


async def _round(
    contestant: Contestant, producer: AIOKafkaProducer, bootstrap: str, store: Store, name: str, count: int
) -> float:
    """Events per second of one batch. Its content is uploaded, and its events encoded, before the clock runs."""
    events = [
        await contestant.upload(TenantId(TENANTS[number % len(TENANTS)]), f"{name}-{number}") for number in range(count)
    ]
    async with _outcomes(contestant.outcomes, bootstrap) as consumer:
        used = [processor_seconds(process) for process in (contestant.process, store.process)]
        await _publish(producer, contestant.events, events)
        times = await _collected(contestant, consumer, {event.id for event in events})
    for measured, process, before in zip(
        (contestant.consumer_ms, contestant.store_ms), (contestant.process, store.process), used, strict=True
    ):
        measured.append((processor_seconds(process) - before) * 1000 / count)
    return (count - 1) * 1000 / (max(times) - min(times))


async def _publish(producer: AIOKafkaProducer, topic: str, events: Sequence[Event]) -> None:
    sent = []
    for event in events:
        message = encode(event)
        sent.append(await producer.send(topic, key=message.key, value=message.value, headers=message.headers))
    await asyncio.gather(*sent)


@asynccontextmanager
async def _outcomes(topic: str, bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of the topic from its present end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="latest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(TOPICS[OUTCOMES].partitions)])
        await consumer.seek_to_end()
        yield consumer
    finally:
        await consumer.stop()


async def _collected(contestant: Contestant, consumer: AIOKafkaConsumer, expected: set[str]) -> list[int]:
    """When the broker took the outcome of each expected event, in ms. Every outcome must be an effect."""
    times: dict[str, int] = {}
    deadline = asyncio.get_running_loop().time() + READY_SECONDS + EVENT_SECONDS * len(expected)
    while len(times) < len(expected):
        if not contestant.process.is_running():
            raise RuntimeError(f"{contestant.name} has ended; its log is {contestant.process.command.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{contestant.name} handled {len(times)} of {len(expected)} events and no more")
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                data = decode(record.key, record.value, record.headers).data
                if not isinstance(data, OutcomeRecorded) or data.event_id not in expected:
                    continue
                if data.outcome is not Outcome.EFFECT:
                    raise RuntimeError(f"{contestant.name} came to {data.outcome} and not to an effect")
                times[data.event_id] = record.timestamp
    return list(times.values())


async def _requests(store: Store, master: KeyFileMasterKey, policy: TenantPolicy) -> dict[str, int]:
    """What each side sends to S3 for one whole batch of approvals, counted in this process; both must be the same."""
    count = RequestCount()
    bucket, plain_bucket = store.bucket("counted"), store.bucket("counted-plain")
    objects, plain_objects = store.objects(bucket), store.objects(plain_bucket)
    count.watch(objects.client)
    count.watch(plain_objects.client)
    tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/curation")
    tenant = await histories.onboarded(tenancy, TENANTS[0], policy)
    plain = PlainUpload(plain_objects, tenancy)
    await plain.onboard(tenant, policy)
    names = [f"counted-{number}" for number in range(policy.min_new_examples)]
    ours = [await histories.uploaded(tenancy, tenant, name) for name in names]
    theirs = [encode(await plain.upload(tenant, name)) for name in names]
    count.taken()
    for event in ours:
        await on_example_approved(event, tenancy)
    sent = count.taken()
    for message in theirs:
        attributes = {name: value.decode() for name, value in message.headers}
        await asyncio.to_thread(
            bare_loop.approve, plain_objects.client, plain_bucket, attributes, json.loads(message.value)
        )
    sent_by_peer = count.taken()
    if sent != sent_by_peer:
        raise RuntimeError(f"the two sides do not do the same work: {sent} and {sent_by_peer}")
    say(f"  S3 requests of a batch, both sides: {sent}")
    return sent
