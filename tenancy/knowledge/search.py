"""Searches a tenant's passages by meaning and by words at once, joined by reciprocal rank fusion.

fused(p) = sum over both rankings of 1 / (60 + rank of p) (Cormack, Clarke and Buettcher, SIGIR 2009). Both are exact:
all vectors are compared, by one product of matrices a segment. At 100,000 passages of 384 numbers that is faster than
an approximate index is opened, and there is nothing to train, tune or keep up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenancy.knowledge.segments import Passage, Segment
from tenancy.knowledge.terms import bm25

FUSION = 60
CANDIDATES = 50
"""Of each ranking; what stands behind them in both adds nothing."""


@dataclass(frozen=True)
class Found:
    """A passage, its fused score, and the cosine between it and the query (None: another embedder made its vector)."""

    passage: Passage
    score: float
    similarity: float | None


def search(
    segments: Sequence[Segment],
    query: str,
    vector: NDArray[np.float32],
    *,
    top_k: int,
    is_wanted: Callable[[str, int], bool],
    is_comparable: Sequence[bool] | None = None,
) -> list[Found]:
    """The best passages, best first, of documents and versions that are wanted. Equals stand in the order of segments.

    ``is_comparable``: whether each segment's vectors are of the embedder that ``vector`` is of; absent: all are.
    """
    if not segments:
        return []
    comparable = is_comparable or [True] * len(segments)
    cosines = np.concatenate(
        [
            segment.vectors @ vector if same else np.full(len(segment), -np.inf, np.float32)
            for segment, same in zip(segments, comparable, strict=True)
        ]
    )
    by_words = np.concatenate(bm25([segment.postings for segment in segments], query))
    allowed = np.concatenate(
        [np.array([is_wanted(*document) for document in s.documents], bool)[s.owners] for s in segments]
    )
    fused: dict[int, float] = {}
    for scores, least in ((cosines, -1.0), (by_words, 0.0)):
        for rank, row in enumerate(_best(np.where(allowed & (scores > least), scores, -np.inf)), 1):
            fused[row] = fused.get(row, 0.0) + 1 / (FUSION + rank)
    starts = np.cumsum([0, *map(len, segments)])
    found = []
    for row, score in sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:top_k]:
        number = int(np.searchsorted(starts, row, "right")) - 1
        similarity = float(cosines[row]) if comparable[number] else None
        found.append(Found(segments[number].passage(row - int(starts[number])), score, similarity))
    return found


def _best(scores: NDArray[np.float32]) -> list[int]:
    """The rows of the highest scores, highest first; rows of minus infinity are none."""
    count = min(CANDIDATES, len(scores))
    rows = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, np.int64)
    rows = rows[np.isfinite(scores[rows])]
    return [int(row) for row in rows[np.lexsort((rows, -scores[rows]))]]
