"""Says how likely each word of a text identifies somebody, by two small networks that were trained on generated texts.

They see a word's letters and form, what it is used like and the words around it, and no expression of a label, so that
a name is known after a cue that no rule has, and an identifier whose label is misspelt. ``tests/phi/train.py`` made the
weights.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.token_features import features, tokens
from tenancy.redaction.word_pieces import Meanings

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "token_model.npz"
CLASSES: tuple[T | None, ...] = (None, T.PERSON, T.PLACE, T.DATE, T.ID)
"""What a word is, coarsely; None is no identifier. A rule that finds more of the same place gives the finer kind."""

NETWORKS, LAYERS, REACH = 2, 3, 2
SEEN = LAYERS * REACH
"""How many words before and after one the model sees."""

_WORDS_AT_ONCE = 4096
"""Bounds the memory that a long text takes."""


@dataclass(frozen=True)
class Opinion:
    """How likely each word of a text is of each class."""

    text: str
    spans: list[tuple[int, int]]
    odds: NDArray[np.float32]

    def of(self, start: int, end: int) -> float:
        """The probability that something identifies somebody between two characters."""
        words_between = self.between(start, end)
        return 1.0 - float(self.odds[words_between, 0].min()) if words_between else 1.0

    def between(self, start: int, end: int) -> range:
        """Which words, by their numbers, have a character there."""
        first = bisect_right(self.spans, start, key=lambda span: span[1])
        return range(first, bisect_left(self.spans, end, key=lambda span: span[0]))


class Tagger:
    """The token model. Reads 7 MB of weights and the word lists when it is made.

    It is the mean of two networks, which learned from texts of their own: their mistakes differ.
    """

    def __init__(self) -> None:
        words.load()
        with as_file(files("tenancy.redaction").joinpath(WEIGHTS)) as path, np.load(path, allow_pickle=False) as stored:
            self._meanings = Meanings(stored)
            self._networks = [_Network(stored, number) for number in range(NETWORKS)]

    def opinion(self, text: str) -> Opinion:
        spans = tokens(text)
        rows, found = features(text, spans), [text[start:end] for start, end in spans]
        parts = [np.zeros((0, len(CLASSES)), np.float32)]
        for at in range(0, len(rows), _WORDS_AT_ONCE):
            before = min(at, SEEN)
            seen = slice(at - before, at + _WORDS_AT_ONCE + SEEN)
            odds = self._odds(rows[seen], found[seen])
            parts.append(odds[before : before + _WORDS_AT_ONCE])
        return Opinion(text, spans, np.concatenate(parts))

    def _odds(self, rows: list[list[int]], found: list[str]) -> NDArray[np.float32]:
        """The probability of each class for each word."""
        begins = np.cumsum([0, *map(len, rows[:-1])])
        buckets = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        meanings = self._meanings.of(found)
        each_says = [network.odds(buckets, begins, meanings) for network in self._networks]
        shares: NDArray[np.float32] = np.mean(each_says, axis=0)
        return shares


class _Network:
    """A word is what its features weigh and what it means; convolutions over it and its neighbours say what it is."""

    def __init__(self, stored: Mapping[str, NDArray[Any]], number: int) -> None:
        self._sums: NDArray[np.float32] = stored[f"{number}.sums"].astype(np.float32) * stored[f"{number}.scale"]
        self._layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = [
            (stored[f"{number}.layer{layer}"], stored[f"{number}.bias{layer}"]) for layer in range(LAYERS)
        ]
        self._out: NDArray[np.float32] = stored[f"{number}.out"]
        self._bias: NDArray[np.float32] = stored[f"{number}.bias"]

    def odds(
        self, buckets: NDArray[np.int64], begins: NDArray[np.int64], meanings: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        seen = [np.concatenate([np.add.reduceat(self._sums[buckets], begins, axis=0), meanings], axis=1)]
        for weights, bias in self._layers:
            padded = np.zeros((len(begins) + 2 * REACH, weights.shape[1]), np.float32)
            padded[REACH:-REACH] = seen[-1]
            reach = [padded[step : step + len(begins)] @ weights[step] for step in range(2 * REACH + 1)]
            seen.append(np.maximum(sum(reach[1:], reach[0]) + bias, 0))
        scores = np.concatenate(seen, axis=1) @ self._out + self._bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
        return shares
