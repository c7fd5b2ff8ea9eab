"""What a dead letter says in its headers: why it is one, and where the message that it is of lies."""

from __future__ import annotations

REASON = "dlq_reason"
DETAIL = "dlq_detail"
CONSUMER = "dlq_consumer"
TIME = "dlq_time"
ORIGINAL = ("dlq_topic", "dlq_partition", "dlq_offset")
REASON_HEADERS = (REASON, DETAIL, CONSUMER, TIME, *ORIGINAL)
"""On every letter, after the message's own headers."""

VALUE_BYTES = "dlq_value_bytes"
"""Only on a letter without its message: how long the value was that the letter does not hold."""
TOO_LARGE = "too-large"
"""The reason of a letter without its message: with it the letter would have been larger than the bus takes."""
