"""Searches a tenant's passages by meaning and by words at once, joined by reciprocal rank fusion.

fused(p) = sum over both rankings of 1 / (60 + rank of p) (Cormack, Clarke and Buettcher, SIGIR 2009). Both are exact:
all vectors are compared. At 100,000 passages of 384 numbers that is faster than an approximate index is opened, and
there is nothing to train, tune or keep up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.objects.knowledge import KnowledgeSet
from tenancy.knowledge.segments import Passage, Segment
from tenancy.knowledge.terms import Words, highest

FUSION = 60
CANDIDATES = 50
"""Of each ranking; what stands behind them in both adds nothing."""


@dataclass(frozen=True)
class Found:
    """A passage, its fused score, and the cosine between it and the query (None: another embedder made its vector)."""

    passage: Passage
    score: float
    similarity: float | None


@dataclass(frozen=True)
class Question:
    """What is searched for: ``vector`` is that of ``text`` by the embedder of that name. ``document_ids``: no others
    are found; None: all are."""

    text: str
    vector: NDArray[np.float32]
    embedder: str
    at: datetime
    top_k: int
    document_ids: Collection[str] | None = None


@dataclass(frozen=True)
class Searchable:
    """A published set with its segments open, in the set's order. What every search of it needs is made by the first
    one: at 100,000 passages a look at each document takes longer than all their vectors."""

    held: KnowledgeSet
    segments: tuple[Segment, ...]

    def search(self, question: Question) -> list[Found]:
        """The best passages, best first, of documents in force then. Equals stand in the order of segments."""
        if not self.segments:
            return []
        allowed = self._documents.allowed(question)
        cosines = self._cosines(question)
        if allowed is not None:
            cosines[~allowed] = -np.inf
        fused: dict[int, float] = {}
        for ranking in (
            highest(cosines, CANDIDATES, above=-np.inf),
            self._words.best(question.text, CANDIDATES, allowed),
        ):
            for rank, row in enumerate(ranking, 1):
                fused[row] = fused.get(row, 0.0) + 1 / (FUSION + rank)
        ranked = sorted(fused.items(), key=lambda item: (-item[1], item[0]))
        return [self._found(row, score, float(cosines[row])) for row, score in ranked[: question.top_k]]

    def _cosines(self, question: Question) -> NDArray[np.float32]:
        """Minus infinity where another embedder made the vector.

        Not by a product of matrices: BLAS shares that out among threads that spin for each other, which takes three to
        four times the processor time, and as much longer where others compute too.
        """
        cosines = np.empty(len(self._words), np.float32)
        for segment, start, entry in zip(self.segments, self._words.starts, self.held.segments, strict=True):
            part = cosines[start : start + len(segment)]
            if entry.embedder == question.embedder:
                np.vecdot(segment.vectors, question.vector, out=part)
            else:
                part.fill(-np.inf)
        return cosines

    def _found(self, row: int, score: float, cosine: float) -> Found:
        number = int(np.searchsorted(self._words.starts, row, "right")) - 1
        passage = self.segments[number].passage(row - int(self._words.starts[number]))
        return Found(passage, score, cosine if np.isfinite(cosine) else None)

    @cached_property
    def _words(self) -> Words:
        return Words.of([segment.postings for segment in self.segments])

    @cached_property
    def _documents(self) -> _Documents:
        return _Documents.of(self.held, self.segments)


@dataclass(frozen=True)
class _Documents:
    """The documents of all segments in their order: from and until when each is in force, and each passage's own."""

    numbers: dict[tuple[str, int], int]
    begins: NDArray[np.float64]
    ends: NDArray[np.float64]
    owners: NDArray[np.int32]

    @classmethod
    def of(cls, held: KnowledgeSet, segments: Sequence[Segment]) -> _Documents:
        documents = [document for segment in segments for document in segment.documents]
        windows = np.array([_window(held, *document) for document in documents]).reshape(-1, 2)
        firsts = np.cumsum([0, *(len(segment.documents) for segment in segments)], dtype=np.int32)
        return cls(
            numbers={document: number for number, document in enumerate(documents)},
            begins=windows[:, 0].copy(),
            ends=windows[:, 1].copy(),
            owners=np.concatenate([segment.owners + first for segment, first in zip(segments, firsts, strict=False)]),
        )

    def allowed(self, question: Question) -> NDArray[np.bool_] | None:
        """Which passages may be found; None: all."""
        at = question.at.timestamp()
        able = (self.begins <= at) & (at < self.ends)
        if question.document_ids is not None:
            named = [number for (name, _), number in self.numbers.items() if name in question.document_ids]
            kept = np.zeros_like(able)
            kept[named] = able[named]
            able = kept
        return None if able.all() else able[self.owners]


def _window(held: KnowledgeSet, document_id: str, version: int) -> tuple[float, float]:
    """From and until when a document is in force, in seconds; never, where it is not the one that counts."""
    entry = held.documents.get(document_id)
    if entry is None or entry.version != version or entry.status != "present":
        return np.inf, -np.inf
    begins, ends = entry.effective_from, entry.effective_until
    return -np.inf if begins is None else begins.timestamp(), np.inf if ends is None else ends.timestamp()
