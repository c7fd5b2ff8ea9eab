"""Bounds the bytes of streams that wait for their readers, per stream and per tenant.

The engine produces a stream's events at its own speed, and events not read yet are kept in this process's memory. A
stream over its bound is cut off. Its connection limits how slowly a reader may read: see
:mod:`tenancy.service.connections`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

STREAM_BYTES = 4 * 1024 * 1024
"""Of one stream: some seconds of the largest events (eight choices, twenty log probabilities of each token), and
thousands of tokens of any other.
"""
OWNER_BYTES = 32 * 1024 * 1024
"""Of all streams of a tenant."""


class Waiting(Protocol):
    """A stream that has events for its reader. ``unread`` is changed by :class:`Unread` only."""

    owner: str
    unread: int

    def cut_off(self) -> None:
        """End the stream, and drop what its reader has not taken."""


class Unread:
    """What waits of all streams of one engine."""

    def __init__(self, stream_bytes: int = STREAM_BYTES, owner_bytes: int = OWNER_BYTES) -> None:
        self._stream_bytes = stream_bytes
        self._owner_bytes = owner_bytes
        self._streams: dict[str, set[Waiting]] = defaultdict(set)
        self._totals: dict[str, int] = defaultdict(int)

    def total(self, owner: str) -> int:
        return self._totals.get(owner, 0)

    def add(self, stream: Waiting, size: int) -> None:
        """Count an event that begins to wait. Where it is one too many the stream is cut off; where too much of all the
        owner's streams waits, the one whose reader is furthest behind.
        """
        self._streams[stream.owner].add(stream)
        self._totals[stream.owner] += size
        stream.unread += size
        if stream.unread > self._stream_bytes:
            stream.cut_off()
        elif self._totals[stream.owner] > self._owner_bytes:
            max(self._streams[stream.owner], key=lambda each: each.unread).cut_off()

    def take(self, stream: Waiting, size: int) -> None:
        """Count an event that its reader has taken."""
        stream.unread -= size
        self._totals[stream.owner] -= size
        if not stream.unread:
            self.drop(stream)

    def drop(self, stream: Waiting) -> None:
        """Count nothing of the stream any more."""
        self._totals[stream.owner] -= stream.unread
        stream.unread = 0
        self._streams[stream.owner].discard(stream)
        if not self._streams[stream.owner]:
            del self._streams[stream.owner], self._totals[stream.owner]
