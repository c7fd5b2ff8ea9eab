"""Ranks passages by their words: BM25, over several segments as over one.

score(q, p) = sum over terms t of q of idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * |p| / avg)), where f is how often
t stands in p (Robertson and Zaragoza 2009, equation 3.15), and idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5)), which is
never negative (Lucene's form). N, n and avg are of all segments together, so a passage's score does not depend on which
segment it lies in. Libraries keep one index of a whole corpus, and would make all of it anew with each document.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75

_WORD = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+")


def words(text: str) -> list[str]:
    """Words and numbers: ``2.5mg`` is a number and a word. Case and compatibility forms do not count."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def term_id(word: str) -> int:
    """64 bits: of a million words two meet with a chance of one in 37 million."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Postings:
    """Which passages hold a term, and how often. ``terms`` is sorted; those of ``terms[i]`` are
    ``rows[starts[i]:starts[i + 1]]``."""

    terms: NDArray[np.uint64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.float32]
    lengths: NDArray[np.int32]

    @classmethod
    def of(cls, passages: Sequence[str]) -> Postings:
        found: dict[int, list[tuple[int, int]]] = {}
        ids: dict[str, int] = {}
        lengths = []
        for row, passage in enumerate(passages):
            said = words(passage)
            lengths.append(len(said))
            for word, count in Counter(said).items():
                term = ids.get(word)
                if term is None:
                    term = ids[word] = term_id(word)
                found.setdefault(term, []).append((row, count))
        terms = sorted(found)
        return cls(
            terms=np.array(terms, np.uint64),
            starts=np.cumsum([0, *(len(found[term]) for term in terms)], dtype=np.int64),
            rows=np.array([row for term in terms for row, _ in found[term]], np.int32),
            counts=np.array([count for term in terms for _, count in found[term]], np.float32),
            lengths=np.array(lengths, np.int32),
        )

    def of_term(self, term: int) -> slice:
        at = int(np.searchsorted(self.terms, np.uint64(term)))
        if at == len(self.terms) or int(self.terms[at]) != term:
            return slice(0, 0)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))


def bm25(segments: Sequence[Postings], query: str) -> list[NDArray[np.float32]]:
    """For each segment the scores of its passages."""
    total = sum(len(segment.lengths) for segment in segments)
    average = max(1.0, sum(int(segment.lengths.sum()) for segment in segments) / max(1, total))
    scores = [np.zeros(len(segment.lengths), np.float32) for segment in segments]
    norms = [K1 * (1 - B + B * segment.lengths.astype(np.float32) / average) for segment in segments]
    for term in dict.fromkeys(map(term_id, words(query))):
        places = [segment.of_term(term) for segment in segments]
        holding = sum(place.stop - place.start for place in places)
        if not holding:
            continue
        idf = np.float32(np.log1p((total - holding + 0.5) / (holding + 0.5)))
        for segment, place, score, norm in zip(segments, places, scores, norms, strict=True):
            rows, counts = segment.rows[place], segment.counts[place]
            score[rows] += idf * counts * (K1 + 1) / (counts + norm[rows])
    return scores
