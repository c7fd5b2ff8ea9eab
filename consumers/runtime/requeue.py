"""Requeues events that must happen: a failing one goes to the back of its topic, for the one reader that failed on it.

Every group of a topic reads what is sent back to it. Where several fail on one event, as all replicas do by a defect of
the release, each copy would make a copy of every one of them, and each holds a partition until patience is over. So a
copy names its reader, and the others, which have the event from its first place or from a copy of their own, pass it
over. The name is the service's or the replica's and not that of a group, whose version may change while a copy waits.
"""

from __future__ import annotations

import re

from consumers.runtime.parsing import Record
from schemas.base.identifiers import OPAQUE_ID_PATTERN
from schemas.bus.envelope import REQUEUED_FOR, Event
from schemas.bus.events import AdapterRetired, EventData, PurgeFenced, PurgeRequested, ReplicaEvicted, TenantChurned
from schemas.bus.topics import REPLICA_SERVICE, TOPICS
from tenancy.bus import RawMessage

MUST_HAPPEN: tuple[type[EventData], ...] = (TenantChurned, PurgeRequested, PurgeFenced, AdapterRetired, ReplicaEvicted)
"""What removals are made of. All are safe at any time and in any order, so that they may wait at the back."""


def must_happen(event: Event | None) -> bool:
    return event is not None and isinstance(event.data, MUST_HAPPEN)


def copy_for(reader: str, record: Record) -> RawMessage:
    """The message as it came, for this reader only."""
    headers = [header for header in record.headers if header[0] != REQUEUED_FOR]
    return RawMessage(record.topic, record.key, record.value, [*headers, (REQUEUED_FOR, reader.encode())])


def is_for_another(reader: str, record: Record, event: Event) -> bool:
    """Whether the message is another reader's copy."""
    named = _named(record, event)
    return named is not None and named != reader


def is_for_nobody(record: Record, event: Event) -> bool:
    """Whether the message is a copy for a reader that the topic does not have. A replica may be gone, or come again."""
    named = _named(record, event)
    if named is None:
        return False
    service, _, replica = named.partition(".")
    is_one = re.fullmatch(OPAQUE_ID_PATTERN, replica) if service == REPLICA_SERVICE else named == service
    return not is_one or service not in TOPICS[record.topic].consumers


def _named(record: Record, event: Event) -> str | None:
    """Whose copy the message is. Only what is sent back can be one."""
    named = dict(record.headers).get(REQUEUED_FOR) if must_happen(event) else None
    return None if named is None else named.decode()  # UTF-8, or it would be no event
