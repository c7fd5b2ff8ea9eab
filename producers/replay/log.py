"""Declares the port that reads topics as a log: at any offset, without a group, committing nothing.

One Protocol with two implementations, Kafka (:mod:`producers.replay.kafka_log`) and memory; one contract suite runs on
both.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from pydantic import Field

from schemas.base.contract import Contract
from schemas.bus.envelope import Event, encode
from schemas.bus.topics import TOPICS
from tenancy.bus import RawMessage
from tenancy.errors import Refused
from tenancy.platform.clock import utc_now

Headers = tuple[tuple[str, bytes | None], ...]


class Place(NamedTuple):
    """Where a message lies on a cluster."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return "/".join(map(str, self))


@dataclass(frozen=True)
class Message:
    """One message. ``time`` is when the broker appended it."""

    place: Place
    time: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers


class PartitionRange(Contract):
    """Offsets of one partition, from ``begin`` up to and without ``end``."""

    topic: str
    partition: int = Field(ge=0)
    begin: int = Field(ge=0)
    end: int = Field(ge=0)


class EventLog(Protocol):
    """Reads topics. Every method may raise :class:`tenancy.errors.BusUnavailable`."""

    async def ranges(
        self, topics: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[PartitionRange, ...]:
        """What every partition holds now, or what was appended from ``since`` up to and without ``until``.

        The ends are pinned: what is appended later is in no range. Raises :class:`Refused` for a topic that the
        cluster does not have.
        """
        ...

    def messages(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Message]:
        """Every committed message of the ranges: by offset within a partition, by append time between partitions.

        One iteration at a time. Raises :class:`Refused` when the beginning of a range is not there any more.
        """
        ...

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """By topic and partition, the offset of the next message that the group will handle."""
        ...


def no_topic(topic: str) -> Refused:
    return Refused("no-topic", f"refused: the bus has no topic {topic}; run `sano topics apply`")


def removed_by_retention() -> Refused:
    return Refused(
        "retention", "refused: retention has removed a part of what was to be read since the plan was made; plan anew"
    )


@dataclass
class MemoryLog:
    """The fake of unit tests: a cluster's topics, to which it also publishes. Every group has handled everything,
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
