"""Runs one consumer service: a FastStream broker with one subscriber, and the health routes around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from consumers.runtime.crash_loops import CrashLoopGuard
from consumers.runtime.dispatch import Dispatcher, Handlers, OnDeadLetter
from consumers.runtime.handling import Handling
from consumers.runtime.liveness import Progress
from consumers.runtime.offsets import Committed
from consumers.runtime.parsing import Partition
from consumers.runtime.reading import Reader, Reading
from consumers.runtime.reading_again import BackReader
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.runs import PortsT
from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.share import Share
from consumers.runtime.signatures import Signatures
from tenancy.bootstrap import Tenancy, open_tenancy
from tenancy.service.background_server import run_server
from tenancy.service.health import health_app
from tenancy.service.periodic import Periodic
from tenancy.service.telemetry import configure_logging, configure_telemetry

GROUP_VERSION = "v1"
PING_SECONDS = 3.0
FETCH_WAIT_MS = 50
"""For more than there is: what reads again is told to go elsewhere, and its last fetch has to be answered before."""

PortsFactory = Callable[[Tenancy, Share], AbstractAsyncContextManager[tuple[PortsT, Sequence[Periodic]]]]


@dataclass
class Consumer:
    """The bus side of a service, for anybody who runs an event loop: see :func:`serve` and the inference agent."""

    dispatcher: Dispatcher[Any]
    topics: Sequence[str]
    group_id: str
    settings: ConsumerSettings
    share: Share = field(default_factory=Share)
    progress: Progress = field(init=False)
    broker: KafkaBroker = field(init=False)
    _loop: asyncio.AbstractEventLoop | None = None

    def __post_init__(self) -> None:
        policy = self.dispatcher.policy
        self.share.follow(self.topics[0], self._partitions)
        self.progress = Progress(
            stuck_after_seconds=policy.deadline_seconds * 1.5,
            failures_before_stop=policy.consecutive_failures_before_stop,
        )
        client = self.settings.kafka_client()
        self.broker = KafkaBroker(
            client["bootstrap_servers"],
            security=self.settings.faststream_security(),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            apply_types=False,
            logger=None,
        )
        crash_loops = CrashLoopGuard(self.group_id, self.dispatcher.tenancy, policy.ended_processes, self._end)
        handling = Handling(self.dispatcher, self.progress, crash_loops, Redeliveries(policy.deliveries))
        self._reading = Reading(handling, policy, self._committed, self.share, self._back_reader)
        # Without a handler: FastStream connects, joins the group and leaves it; reading and committing is ours, since
        # what it acknowledges is the consumer's position and no record (reference/kafka.md 1.2).
        self._subscriber = self.broker.subscriber(
            *self.topics,
            group_id=self.group_id,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            isolation_level="read_committed",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=policy.session_timeout_ms,
            heartbeat_interval_ms=policy.heartbeat_interval_ms,
            max_poll_interval_ms=policy.max_poll_interval_ms,
            rebalance_timeout_ms=policy.rebalance_timeout_ms,
            fetch_max_wait_ms=policy.fetch_wait_ms,
            listener=self._reading,
        )

    def _partitions(self) -> int:
        consumer = self._subscriber.consumer
        return len((consumer and consumer.partitions_for_topic(self.topics[0])) or ())

    def _end(self, partition: Partition) -> int | None:
        consumer, place = self._subscriber.consumer, TopicPartition(*partition)
        if consumer is None or place not in consumer.assignment():
            return None
        end: int | None = consumer.highwater(place)
        return end

    async def _committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        places = [TopicPartition(*partition) for partition in partitions]
        found = await self.broker.config.admin_client.list_consumer_group_offsets(self.group_id, partitions=places)
        return {(topic, number): Committed(held.offset, held.metadata or "") for (topic, number), held in found.items()}

    @asynccontextmanager
    async def _back_reader(self) -> AsyncIterator[BackReader]:
        """It is in no group, so that it reads what this process was assigned without being assigned anything."""
        reader = AIOKafkaConsumer(
            **self.settings.kafka_client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.stop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume; at the end finish what is in hand, commit, and leave the group. Also of a start that was cut off."""
        self._loop = asyncio.get_running_loop()
        try:
            await self.broker.start()
            self._reading.start(cast(Reader, self._subscriber.consumer))
            yield
        finally:
            await self._reading.stop()
            await self.broker.stop()

    def is_alive(self) -> bool:
        """Whether this consumer gets on with its messages."""
        return self.progress.is_alive() and self._reading.is_running()

    async def is_ready(self) -> bool:
        """Whether the bus answers. Any loop may ask, even while the consumer's own is blocked."""
        if self._loop is None or self._loop.is_closed():
            return False
        asked = asyncio.run_coroutine_threadsafe(self._answers(), self._loop)
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * PING_SECONDS):
                return await asyncio.wrap_future(asked)
        return False

    async def _answers(self) -> bool:
        return bool(await self.broker.ping(timeout=PING_SECONDS))


def serve(
    service: str,
    *,
    settings: ConsumerSettings,
    topics: Sequence[str],
    handlers: Handlers[PortsT],
    ports: PortsFactory[PortsT],
    on_dead_letter: OnDeadLetter[PortsT] | None = None,
) -> None:
    """Run a consumer service until SIGTERM or SIGINT: then finish what is in hand, commit, and leave the group."""
    configure_logging(service)
    telemetry = configure_telemetry(service, settings.otlp_endpoint)
    held: list[Consumer] = []

    @asynccontextmanager
    async def consuming() -> AsyncIterator[None]:
        signatures = Signatures.of(settings)
        async with AsyncExitStack() as stack:
            tenancy = await stack.enter_async_context(open_tenancy(settings, service))
            share = Share()
            made, periodics = await stack.enter_async_context(ports(tenancy, share))
            policy = settings.handling_policy()
            dispatcher = Dispatcher(
                service,
                handlers,
                tenancy,
                made,
                telemetry,
                policy,
                on_dead_letter=on_dead_letter,
                signatures=signatures,
            )
            consumer = Consumer(dispatcher, topics, f"{service}.{GROUP_VERSION}", settings, share)
            await stack.enter_async_context(consumer.running())
            for periodic in periodics:
                periodic.start()
                stack.push_async_callback(periodic.stop)
            held.append(consumer)
            yield

    async def is_ready() -> bool:
        return bool(held) and await held[0].is_ready()

    try:
        run_server(
            lambda lifespan: health_app(telemetry, lambda: not held or held[0].is_alive(), is_ready, lifespan),
            consuming,
            host=settings.health_host,
            port=settings.health_port,
        )
    finally:
        telemetry.flush()
