"""The bus of the world: topics that a test delivers by hand, and the consumers that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.runtime.dispatch import Handlers
from schemas.bus.envelope import Encoded, Event, Header, decode, encode
from tenancy.bus import RawMessage
from tenancy.platform.tracing import traced


@dataclass
class Bus:
    """Topics as lists. One partition, which is what a tenant sees."""

    topics: dict[str, list[Event[Any]]] = field(default_factory=dict)
    dead: list[RawMessage] = field(default_factory=list)
    _signatures: dict[int, tuple[Event, Header]] = field(default_factory=dict)

    async def publish(self, event: Event) -> None:
        self.take(encode(traced(event)))

    def take(self, message: Encoded, signature: Header | None = None) -> None:
        event = decode(message.key, message.value, message.headers)
        self.topics.setdefault(event.topic, []).append(event)
        if signature is not None:
            self._signatures[id(event)] = event, signature

    def signature_of(self, event: Event) -> list[Header]:
        """The header of an event of a topic, if it was signed."""
        held = self._signatures.get(id(event))
        return [held[1]] if held is not None and held[0] is event else []

    async def publish_raw(self, message: RawMessage) -> None:
        self.dead.append(message)

    async def answers(self) -> bool:
        return True

    def published(self, *, without: Sequence[str] = ()) -> set[str]:
        return {
            f"{e.subject} {e.type} {e.data.natural_key()}"
            for log in self.topics.values()
            for e in log
            if e.type not in without
        }


@dataclass
class Service:
    """One consumer: its handlers and how far it has read each topic."""

    name: str
    handlers: Handlers[Any]
    topics: tuple[str, ...]
    ports: Any
    positions: dict[str, int] = field(default_factory=dict)
