"""Finds dead letters that were redriven already, so that a redrive is idempotent.

The redriven message is its own record: its headers name the letter's place. So sending a letter and recording that are
one write: no crash can come in between, nothing is stored elsewhere, and the record outlives the letter, since it was
appended later to a topic with the same retention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from producers.replay.log import EventLog, Message, Place
from producers.replay.selection import Candidate
from schemas.bus.envelope import ORIGIN


def origin_headers(place: Place) -> list[tuple[str, bytes | None]]:
    """The place as headers."""
    return [(name, str(value).encode()) for name, value in zip(ORIGIN, place, strict=True)]


def origins(message: Message) -> Iterator[Place]:
    """Every place that the message was sent again from, oldest first."""
    named = [[value for name, value in message.headers if name == wanted] for wanted in ORIGIN]
    for topic, partition, offset in zip(*named, strict=False):
        if topic and partition and offset and partition.isdigit() and offset.isdigit():
            yield Place(topic.decode(errors="replace"), int(partition), int(offset))


async def redriven(log: EventLog, letters: Sequence[Candidate]) -> frozenset[Place]:
    """The places of those letters that were sent again."""
    if not letters:
        return frozenset()
    places = {letter.place for letter in letters}
    topics = sorted({letter.event.topic for letter in letters})
    oldest = min(letter.message.time for letter in letters)
    found: set[Place] = set()
    async for message in log.messages(await log.ranges(topics, since=oldest)):
        found.update(place for place in origins(message) if place in places)
    return frozenset(found)
