"""Handles merges of patients (ADT^A40): what was proposed under a retired identifier is trained on no more.

The consent of a patient is named after an identifier. Once that is retired nobody can say whose consent it was, so it
is revoked; what comes for the surviving patient is under that patient's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

from producers.sources.mllp.conversations import NoCandidate
from producers.sources.mllp.message import Message
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentRevoked

MOST_RETIRED = 1000
"""Identifiers of one merge, which is of one patient into one: each becomes an event."""

_TIME = re.compile(
    r"(?P<date>[0-9]{8})(?P<clock>[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,4})?)?)?)?(?P<zone>[+-][0-9]{4})?"
)


def revocations(message: Message, key: SourceKey, tenant: str) -> list[ConsentRevoked]:
    """One for each retired identifier. Their version is the time of the event, in milliseconds.

    Raises :class:`NoCandidate` where it is not said what was merged into what, or when.
    """
    surviving = set(_patients(message, "PID", 3))
    retired = list(dict.fromkeys(_patients(message, "MRG", 1)))
    if not surviving or not retired:
        raise NoCandidate("no-merge")
    if len(retired) > MOST_RETIRED:
        raise NoCandidate("too-many-merged")
    if surviving & set(retired):
        raise NoCandidate("merged-into-itself")
    at = event_time(message)
    version = max(1, int(at.timestamp() * 1000))
    return [ConsentRevoked(consent_id=key.consent_id(tenant, one), version=version) for one in retired]


def event_time(message: Message) -> datetime:
    """EVN-2, else MSH-7; UTC where it has no zone. Raises :class:`NoCandidate`."""
    said = message.part(message.first("EVN"), 2) or message.part(message.first("MSH"), 7)
    found = _TIME.fullmatch(said)
    if found is None:
        raise NoCandidate("no-time")
    clock = (found["clock"] or "").partition(".")[0].ljust(6, "0")
    zone = found["zone"] or "+0000"
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5])) * (-1 if zone[0] == "-" else 1)
    try:
        at = datetime.strptime(found["date"] + clock, "%Y%m%d%H%M%S").replace(tzinfo=timezone(offset))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NoCandidate("no-time") from None


def _patients(message: Message, name: str, number: int) -> Iterable[tuple[str, ...]]:
    for segment in message.all(name):
        yield from (one for one in message.parts(segment, number, 1, 4) if one[0])
