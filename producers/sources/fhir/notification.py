"""Reads a notification of a topic-based subscription, of the Subscriptions R5 Backport IG in R4 and R4B.

The status is a Parameters resource in R4 and a SubscriptionStatus in R4B; both are the first entry of a Bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from producers.sources.fhir.resources import ID, relative

Kind = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event"]
MOST_EVENTS = 1000
_BUNDLES = ("history", "subscription-notification")
_NUMBER = re.compile(r"[0-9]{1,15}")


class Malformed(Exception):
    """No notification. ``code`` is for the answer; it quotes nothing."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class NotificationEvent:
    """``focus``: references to what changed; none where the subscription's payload is empty."""

    number: int
    focus: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Notification:
    kind: Kind
    subscription: str
    since_start: int | None
    events: tuple[NotificationEvent, ...] = ()
    entries: tuple[dict[str, Any], ...] = field(default=(), repr=False)


def read_notification(body: Any) -> Notification:
    """Raises :class:`Malformed`."""
    if not isinstance(body, dict) or body.get("resourceType") != "Bundle" or body.get("type") not in _BUNDLES:
        raise Malformed("not-a-notification")
    entries = body.get("entry")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise Malformed("bad-entries")
    status = entries[0].get("resource")
    if not isinstance(status, dict) or status.get("resourceType") not in ("Parameters", "SubscriptionStatus"):
        raise Malformed("no-status")
    said = _of_parameters(status) if status["resourceType"] == "Parameters" else _of_status(status)
    kind, subscription, since_start, events = said
    if kind not in get_args(Kind):
        raise Malformed("bad-type")
    name = relative(subscription) if isinstance(subscription, str) else ""
    if not name.startswith("Subscription/") or not ID.fullmatch(name.partition("/")[2]):
        raise Malformed("bad-subscription")
    found = tuple(sorted(events, key=lambda event: event.number))
    if kind == "event-notification" and not found:
        raise Malformed("no-events")
    if len(found) > MOST_EVENTS:
        raise Malformed("too-many-events")
    return Notification(
        kind=kind,
        subscription=name.partition("/")[2],
        since_start=None if since_start is None else _number(since_start),
        events=found,
        entries=tuple(entries[1:]),
    )


_Said = tuple[Any, Any, Any, list[NotificationEvent]]


def _of_parameters(status: dict[str, Any]) -> _Said:
    parameters = list(_named(status.get("parameter")))
    single = {name: _value(one) for name, one in parameters}
    events = []
    for name, one in parameters:
        if name == "notification-event":
            parts = list(_named(one.get("part")))
            number = next((_value(part) for named, part in parts if named == "event-number"), None)
            focus = [_value(part) for named, part in parts if named == "focus"]
            events.append(NotificationEvent(_number(number), tuple(map(_reference, focus))))
    return single.get("type"), _reference(single.get("subscription")), single.get(_SINCE), events


def _of_status(status: dict[str, Any]) -> _Said:
    listed = status.get("notificationEvent") or []
    if not isinstance(listed, list) or not all(isinstance(event, dict) for event in listed):
        raise Malformed("bad-events")
    events = [
        NotificationEvent(
            _number(event.get("eventNumber")), (_reference(event["focus"]),) if event.get("focus") else ()
        )
        for event in listed
    ]
    since_start = status.get("eventsSinceSubscriptionStart")
    return status.get("type"), _reference(status.get("subscription")), since_start, events


_SINCE = "events-since-subscription-start"


def _named(parameters: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(parameters, list):
        raise Malformed("bad-parameters")
    for one in parameters:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise Malformed("bad-parameters")
        yield one["name"], one


def _value(parameter: dict[str, Any]) -> Any:
    """The value, of whichever type: servers write numbers as text, as R4 has it, and as numbers."""
    return next((value for key, value in parameter.items() if key.startswith("value")), None)


def _reference(value: Any) -> str:
    reference = value.get("reference") if isinstance(value, dict) else value
    if not isinstance(reference, str) or not reference:
        raise Malformed("bad-reference")
    return reference


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or not _NUMBER.fullmatch(str(value)):
        raise Malformed("bad-number")
    return int(value)
