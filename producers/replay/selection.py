"""Selects a replay's messages: which of which topics."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import AwareDatetime, model_validator

from producers.replay.log import EventLog, Message, PartitionRange, Place
from schemas.base.contract import Contract
from schemas.base.identifiers import EventTypeName, OpaqueId, ReasonCode, TenantName
from schemas.bus.dead_letters import CONSUMER, REASON, TOO_LARGE
from schemas.bus.envelope import Event, MalformedEvent, decode
from schemas.bus.events import EVENT_TYPES, OUTCOMES
from schemas.bus.signatures import SIGNATURE
from schemas.bus.topics import LIVE_TOPICS, dead_letter_topic

REPLAYABLE: tuple[str, ...] = tuple(topic for topic in LIVE_TOPICS if topic != OUTCOMES)
"""Outcomes are what a replay is judged by. Nobody handles them, and sent again they would be counted again."""


class Selection(Contract):
    """All given criteria must hold; one that is empty holds for everything.

    ``reasons`` and ``consumers`` are criteria of dead letters: with one of them, or with ``dead_letters``, the topics'
    dead letters are read instead, and are sent again to the topic that they came from.
    """

    topics: tuple[str, ...] = ()
    tenants: tuple[TenantName, ...] = ()
    event_ids: tuple[OpaqueId, ...] = ()
    types: tuple[EventTypeName, ...] = ()
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    dead_letters: bool = False
    reasons: tuple[ReasonCode, ...] = ()
    consumers: tuple[OpaqueId, ...] = ()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        unknown = [topic for topic in self.topics if topic not in REPLAYABLE]
        if unknown:
            raise ValueError(f"a replay can be of {', '.join(REPLAYABLE)}")
        if strange := sorted(name for name in self.types if name not in EVENT_TYPES):
            raise ValueError(f"{', '.join(strange)} is no event type")
        if (self.reasons or self.consumers) and not self.dead_letters:
            raise ValueError("reasons and consumers are criteria of dead letters")
        if self.since and self.until and self.since >= self.until:
            raise ValueError("the range of time is empty")
        return self

    def read_from(self) -> tuple[str, ...]:
        """The topics that are read."""
        topics = self.topics or REPLAYABLE
        return tuple(dead_letter_topic(topic) for topic in topics) if self.dead_letters else topics

    def may_hold(self, message: Message) -> bool:
        """Whether the criteria hold, by key and headers alone; what these say is not verified yet."""
        named = dict(message.headers)
        return (
            _holds(self.tenants, message.key)
            and _holds(self.event_ids, named.get("ce_id"))
            and _holds(self.types, named.get("ce_type"))
            and _holds(self.reasons, named.get(REASON))
            and _holds(self.consumers, named.get(CONSUMER))
        )


def _holds(wanted: Sequence[str], found: bytes | None) -> bool:
    return not wanted or (found is not None and any(found == one.encode() for one in wanted))


@dataclass(frozen=True)
class Candidate:
    """A message that the selection yields, and the event that it is."""

    message: Message
    event: Event

    @property
    def place(self) -> Place:
        return self.message.place


@dataclass
class Reading:
    """One pass over a selection: what it yielded, and what it left out.

    ``unreadable``: no event of the contract, or on a topic that is not its own; its tenant cannot be known, so that
    nobody could say whether it may be sent. ``too_large``: a letter that does not hold its message. ``repeated``: an
    event that came earlier in the pass already under the same signature, such as a copy that an earlier replay sent:
    whoever forges an event first keeps the true one out of no replay. A dead letter is never a repetition.
    """

    log: EventLog
    selection: Selection
    unreadable: int = 0
    too_large: int = 0
    repeated: int = 0
    firsts: dict[tuple[str, int], int] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)

    async def candidates(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Candidate]:
        """What the selection yields in the ranges, in the log's order."""
        async for message in self.log.messages(ranges):
            if not self.selection.may_hold(message):
                continue
            event = read_event(message)
            if event is None:
                if is_cut(message):
                    self.too_large += 1
                else:
                    self.unreadable += 1
                continue
            if not self.selection.dead_letters and not self._is_first(event, message):
                self.repeated += 1
                continue
            topic, partition, offset = message.place
            self.firsts.setdefault((topic, partition), offset)
            yield Candidate(message, event)

    def _is_first(self, event: Event, message: Message) -> bool:
        signature = dict(message.headers).get(SIGNATURE) or b""
        identity = uuid.UUID(event.id).bytes + hashlib.sha256(signature).digest()
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


def is_cut(message: Message) -> bool:
    """Whether it is a dead letter without its message, which is no event any more."""
    return dict(message.headers).get(REASON) == TOO_LARGE.encode() and message.place.topic.endswith(".dlq")


def read_event(message: Message) -> Event | None:
    """The event, if the message is one of the contract and lies where it belongs."""
    try:
        event = decode(message.key, message.value, message.headers)
    except MalformedEvent:
        return None
    if message.place.topic not in (event.topic, dead_letter_topic(event.topic)):
        return None
    return event
