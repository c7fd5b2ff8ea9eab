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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
COMMON = 8

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
    ``rows[starts[i]:starts[i + 1]]``.

    ``common`` are the terms that more than one passage in :data:`COMMON` holds, in order, and ``table`` has a row for
    each: how often it stands in every passage, 255 at most. They are most of the postings that a question asks for, and
    an array is gone through ten times as fast from one end to the other as by its places.
    """

    terms: NDArray[np.uint64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.float32]
    lengths: NDArray[np.int32]
    common: NDArray[np.uint64] = field(init=False)
    table: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        numbers = np.flatnonzero(np.diff(self.starts) * COMMON > len(self.lengths))
        table = np.zeros((len(numbers), len(self.lengths)), np.uint8)
        for row, number in zip(table, numbers, strict=True):
            place = slice(int(self.starts[number]), int(self.starts[number + 1]))
            row[self.rows[place]] = np.minimum(self.counts[place], 255)
        object.__setattr__(self, "common", self.terms[numbers])
        object.__setattr__(self, "table", table)

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

    @classmethod
    def joined(cls, parts: Sequence[Postings]) -> Postings:
        """Those of all parts, as if their passages stood one after another."""
        starts = firsts(len(part.lengths) for part in parts)
        terms = np.concatenate([part._term_of_each() for part in parts])
        order = np.argsort(terms, kind="stable")  # so that the rows of a term stay in order
        return cls._of_sorted(
            terms[order],
            rows=np.concatenate([part.rows + np.int32(first) for part, first in zip(parts, starts, strict=True)])[
                order
            ],
            counts=np.concatenate([part.counts for part in parts])[order],
            lengths=np.concatenate([part.lengths for part in parts]),
        )

    def kept(self, passages: NDArray[np.bool_]) -> Postings:
        """Those of these passages, which are counted anew."""
        held = passages[self.rows]
        numbers = (np.cumsum(passages) - 1).astype(np.int32)
        return self._of_sorted(
            self._term_of_each()[held],
            rows=numbers[self.rows[held]],
            counts=self.counts[held],
            lengths=self.lengths[passages],
        )

    @classmethod
    def _of_sorted(
        cls,
        term_of_each: NDArray[np.uint64],
        rows: NDArray[np.int32],
        counts: NDArray[np.float32],
        lengths: NDArray[np.int32],
    ) -> Postings:
        terms, starts = np.unique(term_of_each, return_index=True)
        return cls(terms, np.append(starts, len(rows)).astype(np.int64), rows, counts, lengths)

    def _term_of_each(self) -> NDArray[np.uint64]:
        return np.repeat(self.terms, np.diff(self.starts))

    def of_common(self, term: int) -> NDArray[np.uint8] | None:
        """How often a common term stands in each passage; None for another one."""
        at = int(np.searchsorted(self.common, np.uint64(term)))
        return self.table[at] if at < len(self.common) and int(self.common[at]) == term else None

    def of_term(self, term: int) -> slice:
        at = int(np.searchsorted(self.terms, np.uint64(term)))
        if at == len(self.terms) or int(self.terms[at]) != term:
            return slice(0, 0)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))


@dataclass(frozen=True)
class Words:
    """The postings of several segments, their passages counted through. ``norms``: k1 * (1 - b + b * |p| / avg)."""

    segments: Sequence[Postings]
    starts: NDArray[np.int64]
    norms: NDArray[np.float32]

    @classmethod
    def of(cls, segments: Sequence[Postings]) -> Words:
        lengths = np.concatenate([np.zeros(0, np.int32), *(segment.lengths for segment in segments)])
        average = max(1.0, float(lengths.sum()) / max(1, len(lengths)))
        norms = K1 * (1 - B + B * lengths.astype(np.float32) / np.float32(average))
        starts = firsts(len(segment.lengths) for segment in segments)
        return cls(segments, starts, norms.astype(np.float32))

    def __len__(self) -> int:
        return len(self.norms)

    def best(self, query: str, count: int, allowed: NDArray[np.bool_] | None = None) -> list[int]:
        """The rows of the highest scores above zero, highest first; equals by row."""
        scores = np.zeros(len(self), np.float32)
        for term in dict.fromkeys(map(term_id, words(query))):
            places = [segment.of_term(term) for segment in self.segments]
            holding = sum(place.stop - place.start for place in places)
            if holding:
                idf = np.log1p((len(self) - holding + 0.5) / (holding + 0.5))
                self._add(scores, term, np.float32(idf * (K1 + 1)), places)
        if allowed is not None:
            scores[~allowed] = 0
        return highest(scores, count, above=0.0)

    def _add(self, scores: NDArray[np.float32], term: int, weight: np.float32, places: Sequence[slice]) -> None:
        for segment, start, place in zip(self.segments, self.starts, places, strict=True):
            own = slice(start, start + len(segment.lengths))
            part, norms = scores[own], self.norms[own]
            counted = segment.of_common(term)
            if counted is not None:
                counts = counted.astype(np.float32)
                part += weight * counts / (counts + norms)
            elif place.stop > place.start:
                rows, counts = segment.rows[place], segment.counts[place]
                part[rows] += weight * counts / (counts + norms[rows])


def firsts(sizes: Iterable[int]) -> NDArray[np.int64]:
    """Where each of several parts begins, which stand one after another."""
    return np.cumsum([0, *sizes], dtype=np.int64)[:-1]


def highest(scores: NDArray[np.float32], count: int, *, above: float) -> list[int]:
    """The rows of the highest scores, highest first; equals by row."""
    count = min(count, len(scores))
    rows = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, np.int64)
    rows = rows[scores[rows] > above]
    return [int(row) for row in rows[np.lexsort((rows, -scores[rows]))]]
