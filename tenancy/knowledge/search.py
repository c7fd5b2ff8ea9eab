"""Searches a tenant's passages by meaning and by words at once, joined by reciprocal rank fusion.

fused(p) = sum over both rankings of 1 / (60 + rank of p) (Cormack, Clarke and Buettcher, SIGIR 2009). Both are exact:
all vectors are compared. At 100,000 passages of 384 numbers that is faster than an approximate index is opened, and
there is nothing to train, tune or keep up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from schemas.objects.knowledge import KnowledgeSet
from tenancy.knowledge.segments import Passage, Segment
from tenancy.knowledge.terms import Words, firsts, highest

FUSION = 60
CANDIDATES = 50
"""Of each ranking; what stands behind them in both adds nothing."""


@dataclass(frozen=True)
class Found:
    """A passage, its fused score, and the cosine between it and the query (None: another embedder made its vector)."""

    passage: Passage
    score: float
    similarity: float | None

    def supports(self, least: float) -> bool:
        """Whether it is near enough to the query to support an answer."""
        return self.similarity is None or self.similarity >= least


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
    """A published set with its segments open, in the set's order, and what every search of it needs: at 100,000
    passages a look at each document takes as long as all their vectors. Leaves memory with the set."""

    held: KnowledgeSet
    segments: tuple[Segment, ...]
    words: Words
    documents: _Documents

    @classmethod
    def of(cls, held: KnowledgeSet, segments: Sequence[Segment]) -> Searchable:
        """Takes some tens of milliseconds at 100,000 passages."""
        words = Words.of([segment.postings for segment in segments])
        return cls(held, tuple(segments), words, _Documents.of(held, segments))

    def search(self, question: Question) -> list[Found]:
        """The best passages, best first, of documents in force then. Equals stand in the order of segments."""
        if not self.segments:
            return []
        allowed = self.documents.allowed(question)
        cosines = self._cosines(question)
        if allowed is not None:
            cosines[~allowed] = -np.inf
        by_meaning = highest(cosines, CANDIDATES, above=-np.inf)
        ranked = fused((by_meaning, self.words.best(question.text, CANDIDATES, allowed)))
        return [self._found(row, score, float(cosines[row])) for row, score in ranked[: question.top_k]]

    def _cosines(self, question: Question) -> NDArray[np.float32]:
        """Minus infinity where another embedder made the vector.

        Not by a product of matrices: BLAS shares that out among threads that spin for each other, which takes three to
        four times the processor time, and as much longer where others compute too.
        """
        cosines = np.empty(len(self.words), np.float32)
        for segment, start, entry in zip(self.segments, self.words.starts, self.held.segments, strict=True):
            part = cosines[start : start + len(segment)]
            if entry.embedder == question.embedder:
                np.vecdot(segment.vectors, question.vector, out=part)
            else:
                part.fill(-np.inf)
        return cosines

    def _found(self, row: int, score: float, cosine: float) -> Found:
        number = int(np.searchsorted(self.words.starts, row, "right")) - 1
        passage = self.segments[number].passage(row - int(self.words.starts[number]))
        return Found(passage, score, cosine if np.isfinite(cosine) else None)


@dataclass(frozen=True)
class _Documents:
    """The documents of all segments in their order: from and until when each is in force, and each passage's own."""

    names: tuple[str, ...]
    begins: NDArray[np.float64]
    ends: NDArray[np.float64]
    owners: NDArray[np.int32]

    @classmethod
    def of(cls, held: KnowledgeSet, segments: Sequence[Segment]) -> _Documents:
        documents = [document for segment in segments for document in segment.documents]
        windows = np.array([_window(held, *document) for document in documents]).reshape(-1, 2)
        starts = firsts(len(segment.documents) for segment in segments)
        owners = [segment.owners + np.int32(start) for segment, start in zip(segments, starts, strict=True)]
        return cls(
            names=tuple(name for name, _ in documents),
            begins=windows[:, 0].copy(),
            ends=windows[:, 1].copy(),
            owners=np.concatenate([np.zeros(0, np.int32), *owners]),
        )

    def allowed(self, question: Question) -> NDArray[np.bool_] | None:
        """Which passages may be found; None: all."""
        at = question.at.timestamp()
        able = (self.begins <= at) & (at < self.ends)
        if question.document_ids is not None:
            able &= np.array([name in question.document_ids for name in self.names], bool)
        return None if able.all() else able[self.owners]


def fused(rankings: Iterable[Sequence[int]]) -> list[tuple[int, float]]:
    """The rows of all rankings with their fused scores, highest first; equals by row."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            scores[row] = scores.get(row, 0.0) + 1 / (FUSION + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _window(held: KnowledgeSet, document_id: str, version: int) -> tuple[float, float]:
    """From and until when a document is in force, in seconds; never, where it is not the one that counts."""
    entry = held.documents.get(document_id)
    if entry is None or entry.version != version or entry.status != "present":
        return np.inf, -np.inf
    begins, ends = entry.effective_from, entry.effective_until
    return -np.inf if begins is None else begins.timestamp(), np.inf if ends is None else ends.timestamp()
