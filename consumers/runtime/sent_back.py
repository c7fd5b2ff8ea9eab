"""Events that must happen: sent to the back of their topic while they fail, for the one reader that failed on them.

Every group of a topic reads what is sent back to it. Where several fail on one event, as all replicas do by a defect of
the release, each copy would make a copy of every one of them, and each holds a partition until patience is over. So a
copy names its reader, and the others, which have the event from its first place or from a copy of their own, pass it
over. The name is the service's or the replica's and not that of a group, whose version may change while a copy waits.
"""

from __future__ import annotations

from consumers.runtime.parsing import Record
from schemas.envelope import ONLY_FOR, Event
from schemas.events import AdapterRetired, EventData, PurgeFenced, PurgeRequested, ReplicaEvicted, TenantChurned
from tenancy.bus import RawMessage

MUST_HAPPEN: tuple[type[EventData], ...] = (TenantChurned, PurgeRequested, PurgeFenced, AdapterRetired, ReplicaEvicted)
"""What removals are made of. All are safe at any time and in any order, so that they may wait at the back."""


def must_happen(event: Event | None) -> bool:
    return event is not None and isinstance(event.data, MUST_HAPPEN)


def copy_for(reader: str, record: Record) -> RawMessage:
    """The message as it came, for this reader only."""
    headers = [header for header in record.headers if header[0] != ONLY_FOR]
    return RawMessage(record.topic, record.key, record.value, [*headers, (ONLY_FOR, reader.encode())])


def is_for_another(reader: str, record: Record, event: Event) -> bool:
    """Whether the message is another reader's copy. Only what is sent back can be one."""
    named = dict(record.headers).get(ONLY_FOR)
    return must_happen(event) and named is not None and named != reader.encode()
