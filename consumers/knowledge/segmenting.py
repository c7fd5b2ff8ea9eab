"""Plans which segments of an index are written anew: those that lose passages, and small ones, which are joined.

Segments are joined when more than :data:`OPEN` of them are less than half full. So an index of n passages has at most
``OPEN + 2 n / FULL`` segments, and each passage is written a few times in its life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.objects.knowledge import DocumentEntry, SegmentEntry

FULL = 4096
"""Passages of a segment: some 8 MB, which are read, decoded and written anew in less than a second."""
OPEN = 8


def touched(
    segments: Sequence[SegmentEntry], documents: Mapping[str, DocumentEntry], ids: set[str]
) -> list[SegmentEntry]:
    """The segments that hold passages of these documents."""
    digests = {documents[name].segment for name in ids if name in documents}
    return [segment for segment in segments if segment.digest in digests]


def to_join(segments: Sequence[SegmentEntry], embedder: str, added: int) -> list[SegmentEntry]:
    """The segments to join with ``added`` new passages: the smallest ones, as many as fit, once too many are small."""
    small = sorted(
        (segment for segment in segments if segment.passages < FULL // 2 and segment.embedder == embedder),
        key=lambda segment: segment.passages,
    )
    if len(small) + (added > 0) <= OPEN:
        return []
    chosen, total = [], added
    for segment in small:
        if total + segment.passages > FULL:
            break
        chosen.append(segment)
        total += segment.passages
    return chosen if len(chosen) + (added > 0) > 1 else []
