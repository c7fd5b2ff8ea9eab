"""Embedding passages: those that the embedder does not read as a whole are cut, however many they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from consumers.knowledge.embedding import embedded
from tenancy.embedding.port import Embedded, TextKind, TextTooLong
from tenancy.knowledge.segments import Passage
from tests.fixtures.embedders import WordEmbedder


class Counting(WordEmbedder):
    """Counts the texts that it is asked to read."""

    asked = 0

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embedded:
        self.asked += len(texts)
        return await super().embed(texts, kind)


def passages(count: int, text: str = "one two three four") -> list[Passage]:
    return [Passage(f"d{number}", 1, "", text) for number in range(count)]


async def test_passages_that_are_too_long_are_cut_where_they_stand_and_each_has_its_own_vector() -> None:
    embedder = WordEmbedder(longest=3)
    given = [*passages(100, "alpha"), *passages(2, "one two three four"), *passages(30, "beta")]
    made, found = await embedded(given, embedder)
    assert [one.text for one in made] == [*["alpha"] * 100, *["one two", "three four"] * 2, *["beta"] * 30]
    assert set(embedder.kinds) == {"passage"}
    alone = await embedder.embed([one.said for one in made], "passage")
    assert found.tokens == alone.tokens
    assert np.array_equal(found.vectors, alone.vectors)


async def test_what_a_document_of_passages_that_are_too_long_costs_grows_with_their_number() -> None:
    async def asked(count: int) -> int:
        embedder = Counting(longest=3)
        made, _ = await embedded(passages(count), embedder)
        assert len(made) == 2 * count
        return embedder.asked

    assert await asked(800) < 3 * await asked(400)


async def test_an_embedder_that_reads_nothing_is_said_to() -> None:
    with pytest.raises(TextTooLong):
        await embedded(passages(1), WordEmbedder(longest=0))
