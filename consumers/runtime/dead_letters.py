"""Dead-letters messages: one that cannot be handled goes to ``<topic>.dlq`` with its reason, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from consumers.runtime.parsing import Record
from schemas.bus.dead_letters import REASON_HEADERS, TOO_LARGE, VALUE_BYTES
from schemas.bus.envelope import is_exact
from schemas.bus.topics import MESSAGE_BYTES, TOPICS, dead_letter_topic
from tenancy.bus import RawMessage

Header = tuple[str, bytes | None]

ITEM_BYTES = 1024
"""In a letter without its message: the longest key and the longest header that are kept."""
KEPT_BYTES = 16_384
"""And all its headers together."""
HEADER_BYTES = 16
"""Counted for each header beside its name and value: on the bus an empty header takes room too."""


@dataclass(frozen=True)
class Reason:
    """Why a message is dead-lettered, by whom, and when. ``detail`` holds no content."""

    code: str
    detail: str
    consumer: str
    at: datetime


def dead_letter(record: Record, reason: Reason) -> RawMessage:
    """The letter: key, value and headers as they came, followed by why and from where.

    A letter that is dead-lettered again after a redrive keeps its earlier reasons, so that its history can be read.
    What may hold text is not copied: where a topic carries ciphertext, a publisher may have sent clear text in place of
    it. So there the value is only in the letter of an event that has no field beyond the contract's.
    """
    letter = RawMessage(
        dead_letter_topic(record.topic), record.key, record.value, [*record.headers, *_said(record, reason)]
    )
    carries_content = TOPICS[record.topic].privacy == "references-or-ciphertext"
    if carries_content and not is_exact(record.key, record.value, record.headers):
        is_too_large = letter.size + HEADER_BYTES * len(letter.headers) > MESSAGE_BYTES - KEPT_BYTES
        return cut_letter(record, reason) if is_too_large else _without_message(record, reason)
    return letter


def cut_letter(record: Record, reason: Reason) -> RawMessage:
    """A letter that the bus takes however large the message is."""
    return _without_message(record, replace(reason, code=TOO_LARGE, detail=f"{reason.code}: {reason.detail}"))


def _without_message(record: Record, reason: Reason) -> RawMessage:
    """Omits the value, a long key and long headers. The letter is no event any more: it says where the message is."""
    size = (VALUE_BYTES, str(len(record.value or b"")).encode())
    key = record.key if len(record.key or b"") <= ITEM_BYTES else None
    headers = [*_kept(record.headers), *_said(record, reason), size]
    return RawMessage(dead_letter_topic(record.topic), key, None, headers)


def _said(record: Record, reason: Reason) -> list[Header]:
    said = (
        reason.code,
        reason.detail.encode()[:512].decode(errors="ignore"),
        reason.consumer,
        reason.at.isoformat(),
        record.topic,
        str(record.partition),
        str(record.offset),
    )
    return [(name, value.encode()) for name, value in zip(REASON_HEADERS, said, strict=True)]


def _kept(headers: Sequence[Header]) -> Iterator[Header]:
    left = KEPT_BYTES
    for name, value in headers:
        size = len(name.encode()) + len(value or b"")
        if size <= ITEM_BYTES and (left := left - size - HEADER_BYTES) >= 0:
            yield name, value
