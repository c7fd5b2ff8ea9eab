"""Parses a record's partition, lane and event, without any other record.

No parser of the framework's looks at a record: on a header that is no UTF-8 FastStream's raises, and then the message
is neither acknowledged nor sought back, and the next commit passes it (reference/kafka.md 1.2). It also obeys
``reply_to``, a header with which a caller could make us publish to a topic of its choice.
"""

from __future__ import annotations

from typing import TypeAlias

from aiokafka import ConsumerRecord

from schemas.bus.envelope import Event, MalformedEvent, decode

Record: TypeAlias = ConsumerRecord
Partition: TypeAlias = tuple[str, int]


def partition_of(record: Record) -> Partition:
    return record.topic, record.partition


def event_of(record: Record) -> Event | None:
    """The event, as it was before its handler was called; None when the record is no event of the contract."""
    try:
        return decode(record.key, record.value, record.headers)
    except MalformedEvent:
        return None


def lane_key(record: Record) -> bytes | None:
    """The tenant in whose lane the record is handled. What is no event is nobody's, whatever key it has: None."""
    return record.key if event_of(record) is not None else None
