"""Segments that lose documents or are joined are those that would be made of their passages anew."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from tenancy.knowledge.segments import Passage, Segment, made, merged, packed, unpacked
from tenancy.knowledge.terms import Postings
from tests.unit.knowledge.test_search import drawn


def segment_of(seed: int, documents: list[str]) -> Segment:
    rng = random.Random(seed)
    texts = iter(drawn(seed, 40))
    passages = [
        Passage(name, 1 + seed, f"Títle {name}", "é " + next(texts))
        for name in documents
        for _ in range(rng.randint(1, 3))
    ]
    return made(passages, np.random.default_rng(seed).normal(size=(len(passages), 5)).astype(np.float32))


def arrays(segment: Segment) -> dict[str, Any]:
    held: dict[str, Any] = {"documents": segment.documents, "owners": segment.owners, "vectors": segment.vectors}
    for name, part in (("postings", segment.postings), ("paths", segment.paths), ("texts", segment.texts)):
        held |= {f"{name}.{field.name}": getattr(part, field.name) for field in fields(part)}
    return held


@pytest.mark.parametrize(
    "without",
    [{"b"}, {"a", "e", "f"}, {"a", "b", "c"}, {"none of them"}, {"a", "c", "d", "f"}],
    ids=lambda names: "-".join(sorted(names)),
)
def test_what_is_cut_and_joined_equals_what_is_made_anew(without: set[str]) -> None:
    parts = [segment_of(1, ["a", "b", "c"]), segment_of(2, ["d"]), segment_of(3, ["e", "f"])]
    kept = [
        (passage, vector)
        for part in parts
        for passage, vector in zip(part.passages(), part.vectors, strict=True)
        if passage.document_id not in without
    ]
    joined = merged(parts, without)
    assert joined is not None
    anew = arrays(made([passage for passage, _ in kept], np.array([vector for _, vector in kept])))
    for name, array in arrays(joined).items():
        assert np.array_equal(array, anew[name]), name
        assert getattr(array, "dtype", None) == getattr(anew[name], "dtype", None), name
    assert unpacked(packed(joined)).passages() == [passage for passage, _ in kept]


def test_of_documents_that_are_all_gone_no_segment_is_left() -> None:
    assert merged([segment_of(1, ["a"]), segment_of(2, ["b"])], {"a", "b"}) is None
    assert merged([]) is None


def test_no_text_is_read_anew_where_a_document_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    part, other = segment_of(1, ["a", "b"]), segment_of(2, ["c"])

    def read(*_: object) -> None:
        raise AssertionError("the words of every passage that stays were counted again")

    monkeypatch.setattr(Postings, "of", read)
    left = merged([part, other], {"a"})
    assert left is not None
    assert left.documents == (("b", 2), ("c", 3))
