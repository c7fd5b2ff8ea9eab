"""Encodes and decodes CloudEvents 1.0 in Kafka's binary mode: attributes in ``ce_*`` headers, JSON data as the value.

In binary mode routing, replay filters and dead-letter tools need not parse bodies.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic

from pydantic import ValidationError
from typing_extensions import TypeVar

from schemas.base.contract import read_tolerant
from schemas.base.identifiers import OPAQUE_ID_PATTERN, TENANT_ID_PATTERN, TRACEPARENT_PATTERN
from schemas.base.timestamps import moment
from schemas.bus.events import EVENT_TYPES, EventData, ReplicaRegistered

EVENT_NAMESPACE = uuid.UUID("6f0f3c0a-52b1-5b57-8d2e-9a4a3f8a6a11")
CONTENT_TYPE = "application/json"
REPLAY_ID = "ce_replayid"
ORIGIN = ("ce_originaltopic", "ce_originalpartition", "ce_originaloffset")
"""Headers with the origin of a resent message. Each resend adds all three, in this order."""
REQUEUED_FOR = "sano_only_for"
"""Header of a requeued copy: the service or replica that failed on the event, for which alone the copy is."""

Header = tuple[str, bytes]

DataT = TypeVar("DataT", bound=EventData)
DataT_co = TypeVar("DataT_co", bound=EventData, default=EventData, covariant=True)


class MalformedEvent(ValueError):
    """A message that is not an event of the contract. ``code`` is for the dead letter; it carries no content."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


def event_id(event_type: str, subject: str, natural_key: str) -> str:
    """The deterministic CloudEvents id: uuid5 over type, tenant and natural key."""
    return str(uuid.uuid5(EVENT_NAMESPACE, f"{event_type}|{subject}|{natural_key}"))


@dataclass(frozen=True)
class Event(Generic[DataT_co]):
    """One event; a bare ``Event`` has data of any type. ``subject`` is the tenant id and the message key, except for a
    replica's own registration.

    Its trace is no part of its identity: the same event may be published in any trace.
    """

    subject: str
    data: DataT_co
    time: datetime
    source: str
    causation_id: str | None = None
    traceparent: str | None = field(default=None, compare=False)
    replay_id: str | None = None
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Once: it is asked for at every step of a handling.
        object.__setattr__(self, "id", event_id(self.data.type, self.subject, self.data.natural_key()))

    @property
    def type(self) -> str:
        return self.data.type

    @property
    def topic(self) -> str:
        return self.data.topic

    def traced(self, traceparent: str | None) -> Event[DataT_co]:
        """The same event with the hop's trace context."""
        return replace(self, traceparent=traceparent)


@dataclass(frozen=True)
class Encoded:
    """A message ready for the bus."""

    topic: str
    key: bytes
    value: bytes
    headers: list[Header]


def data_schema(event_type: str) -> str:
    """The URN of the JSON Schema of this type's data."""
    return f"urn:sanolith:schema:{event_type.removeprefix('sano.')}:v1"


def encode(event: Event) -> Encoded:
    """Encode for Kafka. The key is the subject, so that one tenant's events of a topic stay in order.

    Raises :class:`MalformedEvent` for a subject or a time that :func:`decode` would refuse.
    """
    _check_subject(event.subject, event.data)
    if event.time.tzinfo is None:
        raise MalformedEvent("bad-time", "the event's time has no zone")
    attributes: dict[str, str] = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_type": event.type,
        "ce_source": event.source,
        "ce_subject": event.subject,
        "ce_time": event.time.isoformat(),
        "ce_dataschema": data_schema(event.type),
        "content-type": CONTENT_TYPE,
    }
    if event.causation_id is not None:
        attributes["ce_causationid"] = event.causation_id
    if event.replay_id is not None:
        attributes[REPLAY_ID] = event.replay_id
    if event.traceparent is not None:
        attributes["traceparent"] = event.traceparent
    return Encoded(
        topic=event.topic,
        key=event.subject.encode(),
        value=event.data.model_dump_json().encode(),
        headers=[(name, value.encode()) for name, value in attributes.items()],
    )


def decode(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Event:
    """Decode a Kafka message, tolerant of fields it does not know. Raises :class:`MalformedEvent`.

    The tenant is believed only where key and subject agree; the id only where it is the one that type, tenant and
    natural key determine: an event cannot pose as another.
    """
    attributes = _attributes(headers)
    if attributes.get("ce_specversion") != "1.0":
        raise MalformedEvent("no-specversion", "the ce_specversion header is not 1.0")
    event_type = _required(attributes, "ce_type")
    model = EVENT_TYPES.get(event_type)
    if model is None:
        raise MalformedEvent("unknown-type", "the ce_type header names no event type of the contract")
    subject = _required(attributes, "ce_subject")
    if key is None or key != subject.encode():
        raise MalformedEvent("key-mismatch", "the message key is not the ce_subject")
    if not value:
        raise MalformedEvent("no-data", "the message has no value: a tombstone is not an event")
    try:
        data = read_tolerant(model, value)
    except (ValidationError, UnicodeDecodeError) as error:
        raise MalformedEvent("invalid-data", _shape_errors(error)) from None
    _check_subject(subject, data)
    event = Event(
        subject=subject,
        data=data,
        time=_time(_required(attributes, "ce_time")),
        source=_required(attributes, "ce_source"),
        causation_id=_opaque(attributes, "ce_causationid"),
        traceparent=_traceparent(attributes),
        replay_id=_opaque(attributes, REPLAY_ID),
    )
    if _required(attributes, "ce_id") != event.id:
        raise MalformedEvent("id-mismatch", "the ce_id is not the one that type, subject and natural key determine")
    return event


def is_exact(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether the message is an event without unknown fields in its value."""
    try:
        event = decode(key, value, headers)
        type(event.data).model_validate_json(value or b"", strict=True)
    except (MalformedEvent, ValidationError):
        return False
    return True


def _attributes(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, raw in headers:
        if raw is None:
            raise MalformedEvent("null-header", "a header has no value")
        try:
            attributes[name] = raw.decode()
        except UnicodeDecodeError:
            raise MalformedEvent("header-not-utf8", "a header is not UTF-8") from None
    return attributes


def _required(attributes: Mapping[str, str], name: str) -> str:
    value = attributes.get(name)
    if not value:
        raise MalformedEvent("missing-attribute", f"the {name} header is missing or empty")
    return value


def _opaque(attributes: Mapping[str, str], name: str) -> str | None:
    value = attributes.get(name)
    if value is not None and re.fullmatch(OPAQUE_ID_PATTERN, value) is None:
        raise MalformedEvent("bad-attribute", f"the {name} header is not an opaque id")
    return value


def _traceparent(attributes: Mapping[str, str]) -> str | None:
    # W3C Trace Context 3.2: a receiver that cannot parse it starts a trace of its own. The event is none the worse.
    value = attributes.get("traceparent")
    return value if value is not None and re.fullmatch(TRACEPARENT_PATTERN, value) else None


def _check_subject(subject: str, data: EventData) -> None:
    if isinstance(data, ReplicaRegistered):
        if subject != data.replica_id:
            raise MalformedEvent("bad-subject", "the ce_subject is not the replica that the data names")
    elif re.fullmatch(TENANT_ID_PATTERN, subject) is None:
        raise MalformedEvent("bad-subject", "the ce_subject is not a tenant id")


def _time(text: str) -> datetime:
    try:
        return moment(text)
    except ValueError:
        raise MalformedEvent("bad-time", "the ce_time header is not RFC 3339 with a zone") from None


def _shape_errors(error: ValidationError | UnicodeDecodeError) -> str:
    """Where and how the data is off, without the data: pydantic's own text would quote the input."""
    if isinstance(error, UnicodeDecodeError):
        return "the value is not UTF-8"
    problems: list[dict[str, Any]] = [dict(problem) for problem in error.errors(include_input=False, include_url=False)]
    return "; ".join(f"{'.'.join(str(part) for part in p['loc'])[:80]}: {p['type']}" for p in problems[:5])
