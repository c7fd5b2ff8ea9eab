"""Publishes to Kafka, idempotently, acknowledged by all in-sync replicas. There is no other way onto the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    RecordListTooLargeError,
)

from schemas.bus.envelope import Event, encode
from schemas.bus.topics import MESSAGE_BYTES
from tenancy.bus import RawMessage
from tenancy.errors import BusUnavailable, MessageTooLarge, Refused
from tenancy.evidence.event_signatures import EventSigner
from tenancy.platform.tracing import traced

REQUEST_TIMEOUT_MS = 20_000
ANSWER_SECONDS = 5.0
STOP_SECONDS = 5.0
"""At the end, for the producers that were replaced."""
OF_THE_PRODUCER = (ProducerClosed, OutOfOrderSequenceNumber)
"""Why a producer that has met a refusal takes no message, whichever: another producer may take it."""


@dataclass(eq=False)
class _Line:
    """A producer, and how many publications are under way by it."""

    producer: AIOKafkaProducer
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _publications: int = 0

    @contextmanager
    def publishing(self) -> Iterator[AIOKafkaProducer]:
        self._publications += 1
        self.quiet.clear()
        try:
            yield self.producer
        finally:
            self._publications -= 1
            if not self._publications:
                self.quiet.set()


class KafkaPublisher:
    """Publishes to Kafka. Use as an async context manager. ``signer``: None while this process does not sign events."""

    def __init__(self, client_settings: dict[str, Any], signer: EventSigner | None = None) -> None:
        self._settings = client_settings
        self._signer = signer
        self._line: _Line | None = None
        self._renewing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._was_answered = True  # the publication that ended last

    async def start(self) -> None:
        self._line = _Line(await self._started())

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._settings,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=MESSAGE_BYTES,
        )
        try:
            await producer.start()
        except BaseException as error:
            await producer.stop()
            if isinstance(error, KafkaError):
                raise BusUnavailable(f"the bus is out of reach: {type(error).__name__}") from None
            raise
        return producer

    async def stop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.producer.stop()
        if self._retiring:
            _, late = await asyncio.wait(self._retiring, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()

    async def __aenter__(self) -> KafkaPublisher:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def publish(self, event: Event) -> None:
        message = encode(traced(event))
        headers = message.headers
        if self._signer is not None:
            headers = [*headers, await self._signer.header(message.topic, message.value, headers)]
        await self.publish_raw(RawMessage(message.topic, message.key, message.value, headers))

    async def publish_raw(self, message: RawMessage) -> None:
        line = self._line
        if line is None:
            raise BusUnavailable("the publisher is not started")
        # aiokafka refuses to send neither key nor value, which is what some dead letters are: they get an empty value.
        value = b"" if message.key is None and message.value is None else message.value
        is_answered = False  # also where this is cancelled at a handler's deadline
        sent: Awaitable[object] | None = None
        try:
            with line.publishing() as producer:
                sent = await producer.send(message.topic, value=value, key=message.key, headers=list(message.headers))
                await sent
            is_answered = True
        except KafkaError as error:
            if error.retriable or isinstance(error, KafkaTimeoutError):
                raise BusUnavailable(f"the bus did not acknowledge: {type(error).__name__}") from None
            is_answered = True  # a refusal is an answer
            is_innocent = isinstance(error, OF_THE_PRODUCER)
            if sent is not None or is_innocent:  # and not refused by the producer before it sent anything
                await self._renew(line)
            if is_innocent:
                raise BusUnavailable(f"the producer had to be replaced: {type(error).__name__}") from None
            if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
                raise MessageTooLarge from None
            raise Refused("bus-refused", f"refused: the bus answered {type(error).__name__}") from None
        finally:
            self._was_answered = is_answered

    async def _renew(self, refused: _Line) -> None:
        """Go on with a new producer. aiokafka counts what was refused as sent, and a broker takes nothing that comes
        after a gap: when the rights are there, the old producer would still be refused, by every partition in turn.
        """
        async with self._renewing:
            if self._line is not refused:
                return  # by another publication that was refused with this one
            fresh = await self._started()
            if self._line is not refused:
                await fresh.stop()  # the publisher was stopped meanwhile
                return
            self._line = _Line(fresh)
        retiring = asyncio.create_task(self._retire(refused))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _retire(self, line: _Line) -> None:
        """Wait for the producer's publications, then stop it: a publication that waits for a topic's metadata would
        wait for ever in a stopped one. A publication that hangs fails by its own timeout, long before this bound.
        """
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * REQUEST_TIMEOUT_MS / 1000):
                    await line.quiet.wait()
        finally:
            with suppress(KafkaError):  # what ended its sender was answered to those who published
                await line.producer.stop()

    async def answers(self) -> bool:
        if self._line is None or not self._was_answered:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._line.producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError):
            return False
        return True
