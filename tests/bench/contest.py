"""What the entries about events share: two consumers with the same events on one broker and one S3, each its own way.

To the store every request takes 25 ms longer, as to a region's bucket. In each round one side gets a batch of events
that lie on its topic within a moment; its rate is counted between the broker's own timestamps (``LogAppendTime``) of
the first event and the last outcome.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from deploy.local.ports import free_ports
from deploy.local.processes import ChildProcess, Command, start
from deploy.local.services import is_ready
from producers.operations.topics import apply_topics
from schemas.bus.envelope import Encoded, Event, decode, encode
from schemas.bus.events import CURATION, OUTCOMES, OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.publishers import OPERATORS
from schemas.bus.topics import TOPICS
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, key_file
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.evidence.event_signatures import EventSigner
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer
from tenancy.platform.concurrency import gathered
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import histories
from tests.bench.frame import Measured, Options, Step, interleaved
from tests.bench.stand import (
    Delayed,
    KeyFiles,
    Store,
    child_environment,
    delayed,
    kafka,
    processor_seconds,
    weed,
)

DELAY_MILLISECONDS = 25
ONE, MANY = ("bench-alone",), tuple(f"bench-{number}" for number in range(20))
READY_SECONDS = 120.0
SINGLES, BETWEEN_SINGLES_SECONDS = 9, 1.0
EVENT_SECONDS = 1.0  # a round in which an event takes longer than this is ended as a failure
PEER_EVENTS, PEER_TRAINING, PEER_OUTCOMES = "bench.curation.v1", "bench.training.v1", "bench.outcomes.v1"


@dataclass
class Contestant:
    """One side: its topics, its bucket as it is without the delay, its process, and its way to the store."""

    name: str
    events: str
    outcomes: str
    bucket: str
    tenancy: Tenancy
    process: ChildProcess
    proxy: Delayed
    consumer_ms: list[float] = field(default_factory=list)
    store_ms: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    longest_wait: list[float] = field(default_factory=list)

    def forget(self) -> None:
        for measured in (self.consumer_ms, self.store_ms, self.requests):
            measured.clear()


@dataclass(frozen=True)
class Contest:
    """``service`` against ``loop``, a module of this folder, each with a bucket in which every tenant is onboarded."""

    bootstrap: str
    store: Store
    master: KeyFileMasterKey
    ours: Contestant
    peer: Contestant
    stand: Stand

    async def rates(self, options: Options, tenants: Sequence[str], events: int) -> dict[str, tuple[float, ...]]:
        """Events a second of each side, round by round."""

        def step(contestant: Contestant) -> Step:
            return lambda number: self.stand.round(contestant, tenants, f"r{number}-{len(tenants)}", events)

        return await interleaved(options.rounds, {"ours": step(self.ours), "peer": step(self.peer)})

    def costs(self) -> dict[str, Measured]:
        """What was measured beside in all rounds since the warm one."""
        sides = (("our consumer", self.ours), ("the batched loop", self.peer))
        consumer = {f"processor time of {n}, per event": Measured("ms", tuple(s.consumer_ms)) for n, s in sides}
        store = {
            f"processor time of the object store under {n}, per event": Measured("ms", tuple(s.store_ms))
            for n, s in sides
        }
        return {**consumer, **store}


@asynccontextmanager
async def contest(
    options: Options, home: Path, service: str, loop: ModuleType, tenants: Sequence[str]
) -> AsyncIterator[Contest]:
    """Both sides, ready and warm."""
    async with AsyncExitStack() as stack:
        bootstrap = stack.enter_context(kafka(home)).bootstrap_servers
        store = stack.enter_context(weed(home))
        keys = KeyFiles.made(home)
        await apply_topics({"bootstrap_servers": bootstrap})
        await _make_topics(bootstrap)
        master = KeyFileMasterKey.read(keys.master)
        sides = {}
        for name in ("ours", "peer"):
            bucket = store.bucket(name)
            objects = await stack.enter_async_context(aclosing(store.objects(bucket)))
            tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/bench")
            for tenant in tenants:
                await histories.onboarded(tenancy, tenant, TenantPolicy())
            proxy = stack.enter_context(delayed(home, store, DELAY_MILLISECONDS, name))
            if name == "ours":
                process = start_service(service, home, bootstrap, proxy.endpoint_url, store, bucket, keys)
            else:
                process = _start_loop(loop, home, bootstrap, proxy.endpoint_url, store, bucket, keys)
            stack.callback(process.stop)
            topics = (CURATION, OUTCOMES) if name == "ours" else (PEER_EVENTS, PEER_OUTCOMES)
            sides[name] = Contestant(name, *topics, bucket, tenancy, process, proxy)
        async with bus_producer(bootstrap) as producer:
            stand = Stand(producer, operators_signer(keys), bootstrap, store)
            for contestant in sides.values():
                await stand.round(contestant, tenants, "warm", 2 * len(tenants))
                contestant.forget()
            yield Contest(bootstrap, store, master, sides["ours"], sides["peer"], stand)


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
async def bus_producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def operators_signer(keys: KeyFiles) -> EventSigner:
    path = key_file(keys.folder, Purpose.EVENT, OPERATORS)
    return EventSigner(Signer.of(Purpose.EVENT, LocalKey.read(path, "the benchmark")))


async def signed(event: Event, signer: EventSigner) -> Encoded:
    message = encode(event)
    header = await signer.header(message.topic, message.value, message.headers)
    return replace(message, headers=[*message.headers, header])


def start_service(
    service: str, home: Path, bootstrap: str, endpoint_url: str, store: Store, bucket: str, keys: KeyFiles
) -> ChildProcess:
    port = free_ports(1)[0]
    environment = child_environment(
        SANO_KAFKA_BOOTSTRAP_SERVERS=bootstrap,
        SANO_MASTER_KEY_FILE=str(keys.master),
        SANO_TRUST_FILE=str(keys.folder / TRUST_FILE),
        SANO_TRUST_ROOT_FILE=str(keys.folder / ROOT_PUBLIC_FILE),
        SANO_EVENT_KEY=str(key_file(keys.folder, Purpose.EVENT, service)),
        SANO_HEALTH_PORT=str(port),
        SANO_WORK_DIR=str(home / "work"),
        **replace(store, endpoint_url=endpoint_url).settings(bucket),
        **({"SANO_AUDIT_KEY": str(key_file(keys.folder, Purpose.AUDIT, service))} if service == "ledger" else {}),
    )
    argv = [sys.executable, "-m", f"consumers.{service}.app"]
    process = start(Command(service, argv, home / f"{service}.log", environment, cwd=home), tie_to_parent=True)
    try:
        process.wait_ready(lambda: is_ready(port), READY_SECONDS)
    except BaseException:
        process.kill()
        raise
    return process


def _start_loop(
    loop: ModuleType, home: Path, bootstrap: str, endpoint_url: str, store: Store, bucket: str, keys: KeyFiles
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
    argv = [sys.executable, "-m", loop.__name__, *(word for pair in options.items() for word in pair)]
    return start(Command("batched-loop", argv, home / "batched-loop.log", environment, cwd=home), tie_to_parent=True)


def beside(tenant: str, partitions: int) -> Iterator[str]:
    """Tenants whose events lie on the same partition: whoever reads that in order meets them behind the other's."""
    place = _partition(tenant, partitions)
    return (name for number in range(1000) if _partition(name := f"bystander-{number}", partitions) == place)


def _partition(tenant: str, partitions: int) -> int:
    place: int = DefaultPartitioner()(tenant.encode(), list(range(partitions)), list(range(partitions)))
    return place


@dataclass(frozen=True)
class Stand:
    """Publishes to a side's topic, signed as operators sign, and reads what came of it."""

    producer: AIOKafkaProducer
    signer: EventSigner
    bootstrap: str
    store: Store

    async def round(self, contestant: Contestant, tenants: Sequence[str], name: str, count: int) -> float:
        """Events per second of one batch. Its content is uploaded, and its events encoded, before the clock runs."""
        events = await _uploaded(contestant, [tenants[number % len(tenants)] for number in range(count)], name)
        async with outcomes(contestant.outcomes, self.bootstrap) as consumer:
            used = [processor_seconds(process) for process in (contestant.process, self.store.process)]
            asked = await contestant.proxy.requests()
            begun = min(await self.publish(contestant.events, events))
            times = await collected(contestant.process, contestant.name, consumer, {event.id for event in events})
        for measured, process, before in zip(
            (contestant.consumer_ms, contestant.store_ms), (contestant.process, self.store.process), used, strict=True
        ):
            measured.append((processor_seconds(process) - before) * 1000 / count)
        contestant.requests.append((await contestant.proxy.requests() - asked) / count)
        return count * 1000 / (max(times.values()) - begun)

    async def beside_an_import(
        self, contestant: Contestant, importer: str, bystander: str, name: str, count: int
    ) -> float:
        """How long a tenant's single event takes, in seconds, on the partition to which another's import came first:
        the median of some that come one after another while the import goes on. The longest is noted.
        """
        imported = await _uploaded(contestant, [importer] * count, name)
        singles = await _uploaded(contestant, [bystander] * SINGLES, f"{name}-single")
        async with outcomes(contestant.outcomes, self.bootstrap) as consumer:
            await self.publish(contestant.events, imported)
            sent: dict[str, int] = {}
            for single in singles:  # while the import goes on, whatever became of those before
                [sent[single.id]] = await self.publish(contestant.events, [single])
                await asyncio.sleep(BETWEEN_SINGLES_SECONDS)
            times = await collected(
                contestant.process, contestant.name, consumer, {event.id for event in (*imported, *singles)}
            )
            seconds = [(times[single] - taken) / 1000 for single, taken in sent.items()]
        contestant.longest_wait.append(max(seconds))
        return statistics.median(seconds)

    async def publish(self, topic: str, events: Sequence[Event]) -> list[int]:
        """When the broker took each, in ms."""
        messages = [await signed(event, self.signer) for event in events]
        sent = [
            await self.producer.send(topic, key=message.key, value=message.value, headers=message.headers)
            for message in messages
        ]
        return [taken.timestamp for taken in await asyncio.gather(*sent)]


async def _uploaded(contestant: Contestant, tenants: Sequence[str], name: str) -> list[Event]:
    """One approval for each of these, whose content is there."""
    return await gathered(
        histories.uploaded(contestant.tenancy, TenantId(tenant), f"{name}-{number}")
        for number, tenant in enumerate(tenants)
    )


@asynccontextmanager
async def outcomes(topic: str, bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of the topic from its present end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="latest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(TOPICS[OUTCOMES].partitions)])
        await consumer.seek_to_end()
        yield consumer
    finally:
        await consumer.stop()


async def collected(process: ChildProcess, name: str, consumer: AIOKafkaConsumer, expected: set[str]) -> dict[str, int]:
    """When the broker took the outcome of each expected event, in ms. Every outcome must be an effect."""
    times: dict[str, int] = {}
    deadline = asyncio.get_running_loop().time() + READY_SECONDS + EVENT_SECONDS * len(expected)
    while not expected <= times.keys():
        if not process.is_running():
            raise RuntimeError(f"{name} has ended; its log is {process.command.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{name} handled too few of {len(expected)} events and no more")
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                data = decode(record.key, record.value, record.headers).data
                if not isinstance(data, OutcomeRecorded) or data.event_id not in expected:
                    continue
                if data.outcome is not Outcome.EFFECT:
                    raise RuntimeError(f"{name} came to {data.outcome} and not to an effect")
                times[data.event_id] = record.timestamp
    return times
