"""Lists dead letters for operators: why, since when, and whether each can be redriven."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import AwareDatetime, Field

from producers.replay.fences import Fences
from producers.replay.log import EventLog, Message
from producers.replay.redriven import redriven
from producers.replay.selection import Candidate, Selection, is_cut, read_event
from schemas.base.contract import Contract
from schemas.base.identifiers import DELIVERY_PATTERN, OPAQUE_ID_PATTERN, REASON_CODE_PATTERN, EventTypeName, OpaqueId
from schemas.bus.dead_letters import CONSUMER, ORIGINAL, REASON
from schemas.bus.envelope import Event

UNKNOWN = "unknown"
"""Instead of what is not of the shape that the runtime writes: a sender may have put anything there."""


Status = Literal["waiting", "redriven", "fenced", "too-large", "unreadable"]


class Failure(Contract):
    """One time that the message was dead-lettered."""

    reason: str
    consumer: str


class Letter(Contract):
    """One dead letter. ``failures``: oldest first; the last one is why this letter is here.

    ``unreadable``: no event of the contract, so that it can be sent for nobody. ``too-large``: it does not hold its
    message, which lies at ``original`` for as long as its topic keeps it. ``fenced``: its tenant is purged or being
    purged. None of these is ever sent again; a letter that was ``redriven`` is not sent a second time.
    """

    letter: str
    original: str = Field(description="where the message lies, or lay, that this is the letter of")
    at: AwareDatetime
    topic: str
    reason: str
    consumer: str
    failures: tuple[Failure, ...]
    event_id: OpaqueId | None = None
    type: EventTypeName | None = None
    tenant: OpaqueId | None = None
    status: Status


async def letters(log: EventLog, fences: Fences, selection: Selection) -> list[Letter]:
    """Every letter that the selection, which must be one of dead letters, is about; oldest first."""
    ranges = await log.ranges(selection.read_from(), since=selection.since, until=selection.until)
    held = [(message, read_event(message)) async for message in log.messages(ranges) if selection.may_hold(message)]
    sent = await redriven(log, [Candidate(message, event) for message, event in held if event is not None])
    found = []
    for message, event in held:
        if event is None:
            status: Status = "too-large" if is_cut(message) else "unreadable"
        elif message.place in sent:
            status = "redriven"
        else:
            status = "waiting" if await fences.refusing(event) is None else "fenced"
        found.append(_letter(message, event, status))
    return found


def _letter(message: Message, event: Event | None, status: Status) -> Letter:
    failures = tuple(_failures(message))
    last = failures[-1] if failures else Failure(reason=UNKNOWN, consumer=UNKNOWN)
    return Letter(
        letter=str(message.place),
        original=_original(message),
        at=message.time,
        topic=message.place.topic.removesuffix(".dlq"),
        reason=last.reason,
        consumer=last.consumer,
        failures=failures,
        event_id=event.id if event else None,
        type=event.type if event else None,
        tenant=event.subject if event else None,
        status=status,
    )


def _failures(message: Message) -> Iterator[Failure]:
    reasons = [_shaped(REASON_CODE_PATTERN, value) for name, value in message.headers if name == REASON]
    consumers = [_shaped(OPAQUE_ID_PATTERN, value) for name, value in message.headers if name == CONSUMER]
    for reason, consumer in zip(reasons, consumers, strict=False):
        yield Failure(reason=reason, consumer=consumer)


def _original(message: Message) -> str:
    named = dict(message.headers)
    place = "/".join((named.get(name) or b"").decode(errors="replace") for name in ORIGINAL)
    return place if re.fullmatch(DELIVERY_PATTERN, place) else UNKNOWN


def _shaped(pattern: str, value: bytes | None) -> str:
    text = (value or b"").decode(errors="replace")
    return text if re.fullmatch(pattern, text) else UNKNOWN
