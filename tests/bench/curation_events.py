"""Approvals through the real curation consumer, against the best loop of aiokafka and boto3 with the same effects.

Both sides are processes of their own on the same broker and the same S3, to which each request takes 25 ms longer, as
to a region's bucket. In each round one side gets a batch of approvals that lie on its topic within a moment; its rate
is counted between the broker's own timestamps (``LogAppendTime``) of the first event and the last outcome.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from deploy.local.ports import free_ports
from deploy.local.processes import ChildProcess, Command, start
from deploy.local.services import is_ready
from producers.operations.topics import apply_topics
from schemas.bus.envelope import Event, decode, encode
from schemas.bus.events import CURATION, OUTCOMES, OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.topics import TOPICS
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, Purpose, key_file
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.platform.concurrency import gathered
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import batched_loop, histories
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved
from tests.bench.stand import (
    Delayed,
    KeyFiles,
    Store,
    child_environment,
    delayed,
    kafka,
    object_store,
    processor_seconds,
    weed,
)

DELAY_MILLISECONDS = 25
ONE, MANY = ("bench-alone",), tuple(f"bench-{number}" for number in range(20))
IMPORTER = "bench-importer"
READY_SECONDS = 120.0
SINGLES, BETWEEN_SINGLES_SECONDS = 9, 1.0
EVENT_SECONDS = 1.0  # a round in which an event takes longer than this is ended as a failure
PEER_EVENTS, PEER_TRAINING, PEER_OUTCOMES = "bench.curation.v1", "bench.training.v1", "bench.outcomes.v1"


@dataclass
class Contestant:
    """One side: its topics, its tenants, its process, and the way that its requests take to the store."""

    name: str
    events: str
    outcomes: str
    tenancy: Tenancy
    process: ChildProcess
    proxy: Delayed
    consumer_ms: list[float] = field(default_factory=list)
    store_ms: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)

    def forget(self) -> None:
        for measured in (self.consumer_ms, self.store_ms, self.requests):
            measured.clear()


def run(options: Options, home: Path) -> Result:
    with ExitStack() as stack:
        cluster = stack.enter_context(kafka(home))
        store = stack.enter_context(weed(home, options.weed) if options.weed else object_store(home))
        return asyncio.run(_measure(options, home, cluster.bootstrap_servers, store, stack))


ENTRY = Entry("curation_events", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


async def _measure(options: Options, home: Path, bootstrap: str, store: Store, stack: ExitStack) -> Result:
    async with asyncio.timeout(ENTRY_SECONDS):
        keys = KeyFiles.made(home)
        await apply_topics({"bootstrap_servers": bootstrap})
        await _make_topics(bootstrap)
        policy, master = TenantPolicy(), KeyFileMasterKey.read(keys.master)
        bystander = _beside(IMPORTER, TOPICS[CURATION].partitions)
        sides = {}
        for name in ("ours", "peer"):
            bucket = store.bucket(name)
            tenancy = assemble(store.objects(bucket), master, RecordingPublisher(), "/sanolith/bench")
            for tenant in (*ONE, *MANY, IMPORTER, bystander):
                await histories.onboarded(tenancy, tenant, policy)
            proxy = stack.enter_context(delayed(home, store, DELAY_MILLISECONDS, name))
            started = _start_curation if name == "ours" else _start_peer
            process = started(home, bootstrap, proxy.endpoint_url, store, bucket, keys)
            stack.callback(process.stop)
            topics = (CURATION, OUTCOMES) if name == "ours" else (PEER_EVENTS, PEER_OUTCOMES)
            sides[name] = Contestant(name, *topics, tenancy, process, proxy)
        ours, peer = sides.values()
        events, imported = (40, 100) if options.quick else (800, 3000)
        async with _producer(bootstrap) as producer:
            stand = _Stand(producer, bootstrap, store)
            for contestant in (ours, peer):
                await stand.round(contestant, (*ONE, *MANY), "warm", 2 * len(MANY))
                contestant.forget()

            def step(contestant: Contestant, tenants: Sequence[str]) -> Step:
                return lambda number: stand.round(contestant, tenants, f"r{number}-{len(tenants)}", events)

            many = await interleaved(options.rounds, {"ours": step(ours, MANY), "peer": step(peer, MANY)})
            requests = {side.name: tuple(side.requests) for side in (ours, peer)}
            one = await interleaved(options.rounds, {"ours": step(ours, ONE), "peer": step(peer, ONE)})

            def import_beside(contestant: Contestant) -> Step:
                return lambda number: stand.beside_an_import(contestant, bystander, f"i{number}", imported)

            waits = await interleaved(1, {"ours": import_beside(ours), "peer": import_beside(peer)})
    return Result(
        entry=ENTRY.name,
        question="How many approvals of 20 tenants a second does one curation consumer handle with 25 ms to the object "
        "store, next to the best loop that does only the reads, writes and publications?",
        better="higher",
        ours=Side(
            "python -m consumers.curation.app",
            "tenants side by side, runs of up to 128 approvals of one: state, key and consents read once, example and "
            "content of each, one swap, a conditional create of each record, one acknowledged outcome each. Types, "
            "tenant and commitment are checked; deadline, retries, crash-loop guard, log lines, spans and metrics; "
            "commits every half second.",
            Measured("events/s", many["ours"]),
        ),
        peer=Side(
            "aiokafka + boto3, tests/bench/batched_loop.py",
            "batches of up to 512, tenants side by side: the same requests with the same preconditions, sealed objects "
            "and messages; no checks, no retries, no telemetry; commits each batch.",
            Measured("events/s", many["peer"]),
        ),
        more={
            "one tenant: our consumer": Measured("events/s", one["ours"]),
            "one tenant: the batched loop": Measured("events/s", one["peer"]),
            f"another tenant's single event while one imports {imported}: our consumer": Measured("s", waits["ours"]),
            f"another tenant's single event while one imports {imported}: the batched loop": Measured(
                "s", waits["peer"]
            ),
            "S3 requests of our consumer, per event of 20 tenants": Measured("requests", requests["ours"]),
            "S3 requests of the batched loop, per event of 20 tenants": Measured("requests", requests["peer"]),
            "processor time of our consumer, per event": Measured("ms", tuple(ours.consumer_ms)),
            "processor time of the batched loop, per event": Measured("ms", tuple(peer.consumer_ms)),
            "processor time of the object store under our consumer, per event": Measured("ms", tuple(ours.store_ms)),
            "processor time of the object store under the batched loop, per event": Measured(
                "ms", tuple(peer.store_ms)
            ),
        },
        facts={"events in a round": events, "tenants": len(MANY), "object store": store.name},
    )


def _beside(tenant: str, partitions: int) -> str:
    """A tenant whose events lie on the same partition: whoever reads that in order meets it behind the other's."""
    place = _partition(tenant, partitions)
    return next(name for number in range(1000) if _partition(name := f"bystander-{number}", partitions) == place)


def _partition(tenant: str, partitions: int) -> int:
    place: int = DefaultPartitioner()(tenant.encode(), list(range(partitions)), list(range(partitions)))
    return place


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


def _start_curation(
    home: Path, bootstrap: str, endpoint_url: str, store: Store, bucket: str, keys: KeyFiles
) -> ChildProcess:
    port = free_ports(1)[0]
    environment = child_environment(
        SANO_KAFKA_BOOTSTRAP_SERVERS=bootstrap,
        SANO_S3_ENDPOINT_URL=endpoint_url,
        SANO_S3_BUCKET=bucket,
        SANO_MASTER_KEY_FILE=str(keys.master),
        SANO_TRUST_FILE=str(keys.folder / TRUST_FILE),
        SANO_TRUST_ROOT_FILE=str(keys.folder / ROOT_PUBLIC_FILE),
        SANO_EVENT_KEY=str(key_file(keys.folder, Purpose.EVENT, "curation")),
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


def _start_peer(
    home: Path, bootstrap: str, endpoint_url: str, store: Store, bucket: str, keys: KeyFiles
) -> ChildProcess:
    environment = child_environment(
        AWS_ACCESS_KEY_ID=store.credentials.access_key_id,
        AWS_SECRET_ACCESS_KEY=store.credentials.secret_access_key,
    )
    options = {
        "--bootstrap": bootstrap,
        "--endpoint": endpoint_url,
        "--bucket": bucket,
        "--events": PEER_EVENTS,
        "--training": PEER_TRAINING,
        "--outcomes": PEER_OUTCOMES,
        "--master-key": str(keys.master),
    }
    argv = [sys.executable, "-m", batched_loop.__name__, *(word for pair in options.items() for word in pair)]
    return start(Command("batched-loop", argv, home / "batched-loop.log", environment, cwd=home), tie_to_parent=True)


@dataclass(frozen=True)
class _Stand:
    producer: AIOKafkaProducer
    bootstrap: str
    store: Store

    async def round(self, contestant: Contestant, tenants: Sequence[str], name: str, count: int) -> float:
        """Events per second of one batch. Its content is uploaded, and its events encoded, before the clock runs."""
        events = await _uploaded(contestant, [tenants[number % len(tenants)] for number in range(count)], name)
        async with _outcomes(contestant.outcomes, self.bootstrap) as consumer:
            used = [processor_seconds(process) for process in (contestant.process, self.store.process)]
            asked = await contestant.proxy.requests()
            begun = min(await self._publish(contestant.events, events))
            times = await _collected(contestant, consumer, {event.id for event in events})
        for measured, process, before in zip(
            (contestant.consumer_ms, contestant.store_ms), (contestant.process, self.store.process), used, strict=True
        ):
            measured.append((processor_seconds(process) - before) * 1000 / count)
        contestant.requests.append((await contestant.proxy.requests() - asked) / count)
        return count * 1000 / (max(times.values()) - begun)

    async def beside_an_import(self, contestant: Contestant, bystander: str, name: str, count: int) -> float:
        """How long a tenant's single event takes, in seconds, on the partition to which another's import came first:
        the median of some that come one after another while the import goes on.
        """
        imported = await _uploaded(contestant, [IMPORTER] * count, name)
        singles = await _uploaded(contestant, [bystander] * SINGLES, f"{name}-single")
        async with _outcomes(contestant.outcomes, self.bootstrap) as consumer:
            await self._publish(contestant.events, imported)
            sent: dict[str, int] = {}
            for single in singles:  # while the import goes on, whatever became of those before
                [sent[single.id]] = await self._publish(contestant.events, [single])
                await asyncio.sleep(BETWEEN_SINGLES_SECONDS)
            times = await _collected(contestant, consumer, {event.id for event in (*imported, *singles)})
            seconds = [(times[single] - taken) / 1000 for single, taken in sent.items()]
        return statistics.median(seconds)

    async def _publish(self, topic: str, events: Sequence[Event]) -> list[int]:
        """When the broker took each, in ms."""
        sent = []
        for event in events:
            message = encode(event)
            sent.append(await self.producer.send(topic, key=message.key, value=message.value, headers=message.headers))
        return [taken.timestamp for taken in await asyncio.gather(*sent)]


async def _uploaded(contestant: Contestant, tenants: Sequence[str], name: str) -> list[Event]:
    """One approval for each of these, whose content is there."""
    return await gathered(
        histories.uploaded(contestant.tenancy, TenantId(tenant), f"{name}-{number}")
        for number, tenant in enumerate(tenants)
    )


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


async def _collected(contestant: Contestant, consumer: AIOKafkaConsumer, expected: set[str]) -> dict[str, int]:
    """When the broker took the outcome of each expected event, in ms. Every outcome must be an effect."""
    times: dict[str, int] = {}
    deadline = asyncio.get_running_loop().time() + READY_SECONDS + EVENT_SECONDS * len(expected)
    while not expected <= times.keys():
        if not contestant.process.is_running():
            raise RuntimeError(f"{contestant.name} has ended; its log is {contestant.process.command.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{contestant.name} handled too few of {len(expected)} events and no more")
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                data = decode(record.key, record.value, record.headers).data
                if not isinstance(data, OutcomeRecorded):
                    continue
                if data.outcome is not Outcome.EFFECT:
                    raise RuntimeError(f"{contestant.name} came to {data.outcome} and not to an effect")
                times[data.event_id] = record.timestamp
    return times
