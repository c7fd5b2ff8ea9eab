"""The way onto the bus, and the two that lead nowhere: of who only reads, and of unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.bus.envelope import Event
from schemas.bus.topics import MESSAGE_BYTES
from tenancy.errors import MessageTooLarge, Refused
from tenancy.platform.tracing import traced

RawHeaders = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class RawMessage:
    """A message as it stands on a topic; used for dead letters, which must keep what they were."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: RawHeaders

    @property
    def size(self) -> int:
        """Bytes of key, value and headers, without what the bus adds."""
        parts = [self.key, self.value, *(part for header in self.headers for part in header)]
        return sum(len(part or b"") for part in parts)


class Publisher(Protocol):
    """Publishes events. A return means the bus has them; :class:`BusUnavailable` means it may not, and :class:`Refused`
    that it has not and never will have them as they are: :class:`MessageTooLarge`, or rights that are missing.
    """

    async def publish(self, event: Event) -> None: ...

    async def publish_raw(self, message: RawMessage) -> None: ...

    async def answers(self) -> bool:
        """Whether the publication that ended last was answered and the bus answers now. Raises nothing."""
        ...


class NoBus:
    """The publisher of what only reads, so that looking at a tenant works while the bus is down."""

    async def publish(self, event: Event) -> None:
        raise Refused("read-only", "refused: this connection only reads")

    async def publish_raw(self, message: RawMessage) -> None:
        raise Refused("read-only", "refused: this connection only reads")

    async def answers(self) -> bool:
        return False


@dataclass
class RecordingPublisher:
    """The fake of unit tests: remembers in order what was published."""

    events: list[Event[Any]] = field(default_factory=list)
    raw: list[RawMessage] = field(default_factory=list)

    async def publish(self, event: Event) -> None:
        self.events.append(traced(event))

    async def publish_raw(self, message: RawMessage) -> None:
        if message.size > MESSAGE_BYTES:
            raise MessageTooLarge
        self.raw.append(message)

    async def answers(self) -> bool:
        return True
