"""The one way onto the bus: idempotent, acknowledged by all in-sync replicas, with key and headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from opentelemetry import propagate

from schemas.envelope import Event, encode
from schemas.topics import MESSAGE_BYTES
from tenancy.errors import BusUnavailable, MessageTooLarge, Refused

REQUEST_TIMEOUT_MS = 20_000
ANSWER_SECONDS = 5.0

RawHeaders = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class RawMessage:
    """A message as it stands on a topic; used for dead letters, which must keep what they were."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


class Publisher(Protocol):
    """Publishes events. A return means the bus has them; :class:`BusUnavailable` means it may not, and :class:`Refused`
    that it has not and never will have them as they are: :class:`MessageTooLarge`, or rights that are missing.
    """

    async def publish(self, event: Event) -> None: ...

    async def publish_raw(self, message: RawMessage) -> None: ...

    async def answers(self) -> bool:
        """Whether the latest publication was acknowledged and the bus answers now. Raises nothing."""
        ...


@dataclass
class RecordingPublisher:
    """The fake of unit tests: remembers in order what was published."""

    events: list[Event] = field(default_factory=list)
    raw: list[RawMessage] = field(default_factory=list)

    async def publish(self, event: Event) -> None:
        self.events.append(event)

    async def publish_raw(self, message: RawMessage) -> None:
        parts = [message.key, message.value, *(part for name, value in message.headers for part in (name, value))]
        if sum(len(part or b"") for part in parts) > MESSAGE_BYTES:
            raise MessageTooLarge
        self.raw.append(message)

    async def answers(self) -> bool:
        return True


class KafkaPublisher:
    """Publishes to Kafka. Use as an async context manager."""

    def __init__(self, client_settings: dict[str, Any]) -> None:
        self._settings = client_settings
        self._producer: AIOKafkaProducer | None = None
        self._is_acknowledged = True

    async def start(self) -> None:
        self._producer = await self._started()

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
        except KafkaError as error:
            await producer.stop()
            raise BusUnavailable(f"the bus is out of reach: {type(error).__name__}") from None
        return producer

    async def stop(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def __aenter__(self) -> KafkaPublisher:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def publish(self, event: Event) -> None:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        message = encode(event.traced(carrier.get("traceparent") or event.traceparent))
        await self.publish_raw(RawMessage(message.topic, message.key, message.value, message.headers))

    async def publish_raw(self, message: RawMessage) -> None:
        producer = self._producer
        if producer is None:
            raise BusUnavailable("the publisher is not started")
        # aiokafka refuses to send neither key nor value, which is what some dead letters are: they get an empty value.
        value = b"" if message.key is None and message.value is None else message.value
        self._is_acknowledged = False  # and so it stays where this is cancelled at a handler's deadline
        sent: Awaitable[object] | None = None
        try:
            sent = await producer.send(message.topic, value=value, key=message.key, headers=list(message.headers))
            await sent
            self._is_acknowledged = True
        except KafkaError as error:
            if getattr(error, "retriable", False) or type(error).__name__ in {"KafkaTimeoutError", "ConnectionError"}:
                raise BusUnavailable(f"the bus did not acknowledge: {type(error).__name__}") from None
            self._is_acknowledged = True  # an answer all the same
            if sent is not None:  # by the bus, and not by the producer before it sent anything
                await self._renew(producer)
            if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
                raise MessageTooLarge from None
            raise Refused("bus-refused", f"refused: the bus answered {type(error).__name__}") from None

    async def _renew(self, refused: AIOKafkaProducer) -> None:
        """Go on with a new producer. aiokafka counts what was refused as sent, and a broker takes nothing that comes
        after a gap: when the rights are there, the old producer would still be refused, by every partition in turn.
        """
        fresh = await self._started()
        if self._producer is refused:
            self._producer, fresh = fresh, refused
        await fresh.stop()

    async def answers(self) -> bool:
        if self._producer is None or not self._is_acknowledged:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError):
            return False
        return True
