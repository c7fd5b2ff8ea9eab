"""Says what a word is like: the sum of what its pieces mean, as a language model's vocabulary has it.

The vectors were learned from much of the web's text by all-MiniLM-L6-v2 and are cut down to few numbers each, so that a
word that no list and no lesson has is still known for what it is used like. Nothing of that model runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenancy.redaction import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEANING = 64
"""How many numbers a piece's vector has."""

MOST_PIECES = 12
"""Of a longer word only its beginning is read."""

_MOST_LETTERS, _LONGEST_PIECE = 60, 18
_GOES_ON = "##"


class WordPieces:
    """A vocabulary, one piece a line: ``##`` begins what goes on a word. The first of it stands for what is in none."""

    def __init__(self, vocabulary: str) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary.split("\n"))}

    def of(self, word: str) -> list[int]:
        """The numbers of the pieces of ``word``, each as long as can be; at least one."""
        key = words.plain(word)[:_MOST_LETTERS]
        whole = self._numbers.get(key)
        if whole is not None:
            return [whole]
        found: list[int] = []
        at, before = 0, ""
        while at < len(key) and len(found) < MOST_PIECES:
            for end in range(min(len(key), at + _LONGEST_PIECE), at, -1):
                number = self._numbers.get(before + key[at:end])
                if number is not None:
                    found.append(number)
                    break
            else:
                end = at + 1
            at, before = end, _GOES_ON if key[end - 1].isalnum() else ""
        return found or [0]


class Meanings:
    """The vectors of a vocabulary's pieces, as they are stored beside the token model's weights."""

    def __init__(self, stored: Mapping[str, NDArray[Any]]) -> None:
        self._pieces = WordPieces(stored["vocabulary"].tobytes().decode())
        self._vectors: NDArray[np.float32] = stored["meanings"].astype(np.float32) * stored["meanings.scale"]

    def of(self, found: Sequence[str]) -> NDArray[np.float32]:
        """A row of :data:`MEANING` numbers for each word. At least one word."""
        known = {word: self._pieces.of(word) for word in dict.fromkeys(found)}
        pieces = [known[word] for word in found]
        counts = np.array([len(each) for each in pieces])
        flat = np.fromiter((number for each in pieces for number in each), dtype=np.int64)
        sums = np.add.reduceat(self._vectors[flat], np.cumsum([0, *counts[:-1]]), axis=0)
        means: NDArray[np.float32] = sums / np.sqrt(counts, dtype=np.float32)[:, None]
        return means
