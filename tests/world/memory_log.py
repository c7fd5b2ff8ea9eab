"""Implements the log of topics in memory. Passes the same contract suite as Kafka's."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from producers.replay.log import Message, PartitionRange, Place, no_topic, removed_by_retention
from schemas.bus.envelope import Event, encode
from schemas.bus.topics import TOPICS
from tenancy.bus import RawMessage
from tenancy.platform.clock import utc_now


@dataclass
class MemoryLog:
    """A cluster's topics, to which it also publishes. Every group has handled everything,
    unless ``handled`` says otherwise."""

    clock: Callable[[], datetime] = utc_now
    partitions: int = 2
    topics: dict[str, list[list[Message]]] = field(default_factory=dict)
    removed: dict[tuple[str, int], int] = field(default_factory=dict)
    handled: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in TOPICS:
            self.topics.setdefault(name, [[] for _ in range(self.partitions)])

    # A publisher.

    async def publish(self, event: Event) -> None:
        message = encode(event)
        await self.publish_raw(RawMessage(message.topic, message.key, message.value, message.headers))

    async def publish_raw(self, message: RawMessage) -> None:
        partition = sum(message.key or b"") % self.partitions
        held = self.topics[message.topic][partition]
        place = Place(message.topic, partition, len(held))
        held.append(Message(place, self.clock(), message.key, message.value, tuple(message.headers)))

    async def answers(self) -> bool:
        return True

    def remove(self, topic: str, partition: int, before: int) -> None:
        """What retention does."""
        self.removed[(topic, partition)] = before

    # A log.

    async def ranges(
        self, topics: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[PartitionRange, ...]:
        found = []
        for topic in topics:
            if topic not in self.topics:
                raise no_topic(topic)
            for partition, held in enumerate(self.topics[topic]):
                begin = max(self.removed.get((topic, partition), 0), _first(held, since, 0))
                end = max(begin, _first(held, until, len(held)))
                found.append(PartitionRange(topic=topic, partition=partition, begin=begin, end=end))
        return tuple(found)

    async def messages(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Message]:
        for r in ranges:
            if r.begin < min(r.end, self.removed.get((r.topic, r.partition), 0)):
                raise removed_by_retention()
        parts = [self.topics[r.topic][r.partition][r.begin : r.end] for r in ranges]
        for message in heapq.merge(*parts, key=lambda message: message.time):
            yield message

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        everything = {
            (topic, number): len(held)
            for topic, partitions in self.topics.items()
            for number, held in enumerate(partitions)
        }
        return self.handled.get(group, everything)


def _first(held: Sequence[Message], moment: datetime | None, otherwise: int) -> int:
    """The offset of the first message that was appended at ``moment`` or later."""
    if moment is None:
        return otherwise
    return next((message.place.offset for message in held if message.time >= moment), len(held))
