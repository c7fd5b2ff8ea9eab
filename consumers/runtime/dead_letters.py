"""Dead letters: a message that cannot be handled goes to ``<topic>.dlq`` with its reason, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consumers.runtime.parsing import Record
from schemas.topics import dead_letter_topic
from tenancy.bus import RawMessage

REASON_HEADERS = (
    "dlq_reason",
    "dlq_detail",
    "dlq_consumer",
    "dlq_time",
    "dlq_topic",
    "dlq_partition",
    "dlq_offset",
)


def dead_letter(record: Record, *, code: str, detail: str, consumer: str, now: datetime) -> RawMessage:
    """The letter: key, value and headers as they came, followed by why and from where.

    A letter that is dead-lettered again after a redrive keeps its earlier reasons, so that its history can be read.
    """
    headers: Sequence[tuple[str, bytes | None]] = [
        *record.headers,
        ("dlq_reason", code.encode()),
        ("dlq_detail", detail.encode()[:512].decode(errors="ignore").encode()),
        ("dlq_consumer", consumer.encode()),
        ("dlq_time", now.isoformat().encode()),
        ("dlq_topic", record.topic.encode()),
        ("dlq_partition", str(record.partition).encode()),
        ("dlq_offset", str(record.offset).encode()),
    ]
    return RawMessage(dead_letter_topic(record.topic), record.key, record.value, headers)
