"""Names the headers of a dead letter: why it is one, and where its original message lies."""

from __future__ import annotations

REASON = "dlq_reason"
DETAIL = "dlq_detail"
CONSUMER = "dlq_consumer"
TIME = "dlq_time"
ORIGINAL = ("dlq_topic", "dlq_partition", "dlq_offset")
REASON_HEADERS = (REASON, DETAIL, CONSUMER, TIME, *ORIGINAL)
"""On every letter, after the message's own headers."""

VALUE_BYTES = "dlq_value_bytes"
"""Only on a letter without its message: the size of the omitted value."""
TOO_LARGE = "too-large"
"""The reason where, with its message, the letter would exceed the bus's message limit."""
