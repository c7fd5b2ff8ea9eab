"""The bus of the world where everybody signs: each process with the event key of its service."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.bus.envelope import Event, encode
from schemas.bus.publishers import ONLY_OURS, PUBLISHES
from tenancy.bus import RawMessage
from tenancy.evidence.event_signatures import EventSigner
from tenancy.platform.tracing import traced
from tests.fixtures.event_keys import EventKeys
from tests.world.bus import Bus

OF_ANOTHER_NAME = {"worker": "training"}
"""Processes that are another principal to the bus."""


@dataclass(frozen=True)
class SigningPublisher:
    """Publishes to the bus in the name of one publisher."""

    bus: Bus
    signer: EventSigner

    async def publish(self, event: Event) -> None:
        message = encode(traced(event))
        self.bus.take(message, await self.signer.header(message.topic, message.value, message.headers))

    async def publish_raw(self, message: RawMessage) -> None:
        await self.bus.publish_raw(message)

    async def answers(self) -> bool:
        return await self.bus.answers()


def publisher_of(process: str, bus: Bus, keys: EventKeys) -> SigningPublisher | Bus:
    """What a process of the world publishes through. One that is no principal signs nothing."""
    name = OF_ANOTHER_NAME.get(process, process)
    return SigningPublisher(bus, keys.signer(name)) if name in PUBLISHES else bus


def who_may_publish(event: Event) -> str:
    """Somebody outside of the services who may publish the event, as far as there is anybody."""
    return "operators" if isinstance(event.data, ONLY_OURS) else "ehr"
