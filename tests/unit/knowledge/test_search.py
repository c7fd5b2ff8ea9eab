"""A search by words reads no more than it must and finds what BM25 says; dates and filters count in every search."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from schemas.objects.knowledge import DocumentEntry, KnowledgeSet, SegmentEntry
from tenancy.embedding.port import unit_length
from tenancy.knowledge.search import Found, Question, Searchable
from tenancy.knowledge.segments import Passage, made
from tenancy.knowledge.terms import K1, B, Postings, Words, term_id, words
from tests.unit.operator_parts import NOW

COUNT = 10
COMMON = ["the", "of", "and", "a", "to", "in", "for", "is", "on", "with"]
DAY = timedelta(days=1)


def drawn(seed: int, passages: int) -> list[str]:
    """Passages of common words and of rare ones, as a language has them."""
    rng = random.Random(seed)
    rare = [f"w{number}" for number in range(200)]
    weights = [1 / (number + 3) for number in range(200)]
    return [
        " ".join([*rng.choices(COMMON, k=rng.randint(3, 30)), *rng.choices(rare, weights, k=rng.randint(1, 8))])
        for _ in range(passages)
    ]


def plain_bm25(texts: list[str], query: str) -> list[float]:
    """The formula, word by word."""
    said = [words(text) for text in texts]
    average = sum(map(len, said)) / len(said)
    scores = [0.0] * len(texts)
    for term in dict.fromkeys(words(query)):
        holding = sum(term in one for one in said)
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for row, one in enumerate(said):
            often = Counter(one)[term]
            scores[row] += idf * often * (K1 + 1) / (often + K1 * (1 - B + B * len(one) / average))
    return scores


@pytest.mark.parametrize("seed", range(6))
def test_the_best_by_words_are_those_of_the_whole_formula_however_common_the_words_are(seed: int) -> None:
    texts = drawn(seed, 300)
    index = Words.of([Postings.of(texts[start : start + 70]) for start in range(0, 300, 70)])
    allowed = np.array([row % 3 > 0 for row in range(300)])
    rng = random.Random(seed)
    for _ in range(20):
        query = " ".join([*rng.choices(COMMON, k=5), *(f"w{rng.randint(0, 40)}" for _ in range(3)), "unheard"])
        scores = plain_bm25(texts, query)
        for mask in (None, allowed):
            able = [row for row in range(300) if scores[row] > 0 and (mask is None or mask[row])]
            expected = sorted((scores[row] for row in able), reverse=True)[:COUNT]
            found = index.best(query, COUNT, mask)
            assert [scores[row] for row in found] == pytest.approx(expected, rel=1e-4)
            assert set(found) <= set(able)


def test_words_that_most_passages_hold_are_looked_up_in_a_table_and_not_place_by_place() -> None:
    postings = Postings.of(["apixaban dose the of", *["the of and the"] * 20])
    found = Words.of([postings]).best("the dose of and", 3)
    for word in ("the", "of", "and"):
        postings.rows[postings.of_term(term_id(word))] = 10**6  # whoever goes through their places fails
    assert Words.of([postings]).best("the dose of and", 3) == found == [0, 1, 2]


def searchable(**dates: tuple[int | None, int | None]) -> Searchable:
    """A document for each name, all of one text, in force between these days from now."""
    rows = [Passage(name, 1, "", f"dose {name}") for name in dates]
    segment = made(rows, unit_length(np.ones((len(rows), 4), np.float32)))
    entries = {
        name: DocumentEntry(
            version=1,
            status="present",
            event_id="e1",
            effective_from=None if begins is None else NOW + begins * DAY,
            effective_until=None if ends is None else NOW + ends * DAY,
        )
        for name, (begins, ends) in dates.items()
    }
    entry = SegmentEntry(generation=1, digest="0" * 64, embedder="e", passages=len(rows), size_bytes=1)
    return Searchable.of(KnowledgeSet(generation=1, documents=entries, segments=(entry,)), (segment,))


def names(found: list[Found]) -> list[str]:
    return [one.passage.document_id for one in found]


@pytest.mark.parametrize("embedder", ["e", "another"], ids=["by both", "by words alone"])
def test_a_document_is_found_from_the_instant_it_begins_and_not_at_the_one_it_ends(embedder: str) -> None:
    index = searchable(always=(None, None), past=(None, -1), ends=(-1, 0), begins=(0, 1), future=(1, None))

    def at(days: int) -> list[str]:
        vector = np.full(4, 0.5, np.float32)
        return sorted(names(index.search(Question("dose", vector, embedder, NOW + days * DAY, 9))))

    assert at(0) == ["always", "begins"]
    assert at(-2) == ["always", "past"]
    assert at(1) == ["always", "future"]


def test_of_a_filter_only_documents_in_force_are_found_and_of_another_version_none() -> None:
    index = searchable(a=(None, None), b=(None, None), c=(1, None))
    vector = np.full(4, 0.5, np.float32)
    assert names(index.search(Question("dose", vector, "e", NOW, 9, frozenset({"b", "c", "missing"})))) == ["b"]
    entry = index.held.documents["b"].evolve(version=2)
    other = Searchable.of(index.held.evolve(documents={**index.held.documents, "b": entry}), index.segments)
    assert names(other.search(Question("dose", vector, "e", NOW, 9))) == ["a"]
