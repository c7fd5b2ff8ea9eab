"""Words come apart into the pieces of a vocabulary, however long or odd they are."""

from __future__ import annotations

import numpy as np
import pytest

from tenancy.redaction.word_pieces import MEANING, MOST_PIECES, Meanings, WordPieces

PIECES = ["[unknown]", "a", "fib", "##rill", "##ation", "##s", "o", "##'", "brien", "9", "##9"]


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("fib", ["fib"]),
        ("Fibrillations", ["fib", "##rill", "##ation", "##s"]),
        ("fibqrill", ["fib", "##rill"]),
        ("O'Brien", ["o", "##'", "brien"]),
        ("Ã", ["a"]),
        ("999", ["9", "##9", "##9"]),
        ("→", ["[unknown]"]),
        ("9" * 100_000, ["9", *["##9"] * (MOST_PIECES - 1)]),
    ],
)
def test_a_word_is_taken_apart_into_the_longest_pieces(word: str, pieces: list[str]) -> None:
    assert [PIECES[number] for number in WordPieces("\n".join(PIECES)).of(word)] == pieces


def test_a_word_means_what_its_pieces_do_together() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-127, 127, (len(PIECES), MEANING)).astype(np.int8)
    meanings = Meanings(
        {
            "vocabulary": np.frombuffer("\n".join(PIECES).encode(), np.uint8),
            "meanings": vectors,
            "meanings.scale": np.array(0.5, np.float32),
        }
    )
    found = meanings.of(["fib", "99", "fib"])
    assert np.allclose(found[0], vectors[2] * 0.5)
    assert np.allclose(found[1], (vectors[9] * 0.5 + vectors[10] * 0.5) / np.sqrt(2))
    assert np.array_equal(found[0], found[2])
