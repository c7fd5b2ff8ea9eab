"""Finds identifiers by a linear model over words, trained on generated texts: another method, with other mistakes.

It sees a word's form and neighbourhood, never a list of labels or an expression, so it finds a name after a cue that no
rule has, and an identifier whose label is misspelt. ``tests/phi/train.py`` made the weights; the probability from which
a word counts is low, since what is found needlessly costs less than what is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.numbers import BIRTHS, is_public
from tenancy.redaction.port import Span
from tenancy.redaction.token_features import features, tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "token-model"
WEIGHTS = "token_model.npz"
CLASSES: tuple[T | None, ...] = (None, T.PERSON, T.PLACE, T.DATE, T.ID)
"""What a word is, coarsely; None is no identifier. A rule that finds more of the same place gives the finer kind."""

THRESHOLD = 0.75


class TaggerDetector:
    """The token model. Reads 0.3 MB of weights and the word lists when it is made."""

    name = NAME

    def __init__(self) -> None:
        words.load()
        with as_file(files("tenancy.redaction").joinpath(WEIGHTS)) as path, np.load(path, allow_pickle=False) as stored:
            self._weights: NDArray[np.float32] = stored["weights"].astype(np.float32) * stored["scale"]

    def find(self, text: str) -> Iterator[Span]:
        """Runs of words of one class, as far as each word can be one."""
        spans = tokens(text)
        open_at: tuple[int, int, T] | None = None
        for (start, end), buckets in zip(spans, features(text, spans), strict=True):
            kind = self._kind(buckets)
            if kind is not None and (not _may_be(text[start:end], kind) or is_public(text, start, end)):
                kind = None
            if open_at is not None and (kind is not open_at[2] or start - open_at[1] > 1):
                yield Span(*open_at, NAME)
                open_at = None
            if kind is not None:
                open_at = (open_at[0] if open_at else start, end, kind)
        if open_at is not None:
            yield Span(*open_at, NAME)

    def _kind(self, buckets: list[int]) -> T | None:
        scores = self._weights[buckets].sum(axis=0)
        odds = np.exp(scores - scores.max())
        best = int(odds[1:].argmax()) + 1
        return CLASSES[best] if odds[best] >= THRESHOLD * odds.sum() else None


def _may_be(word: str, kind: T) -> bool:
    """Whether medicine lets this word be of that kind: drugs are nobody's name, and numbers of two digits no number."""
    if kind in (T.PERSON, T.PLACE):
        if len(word) < 2 or not word.isalpha() or words.is_function_word(word) or words.is_clinical(word):
            return False
        if words.is_eponym(word) and not words.is_sure_first_name(word):
            return False
        return (
            words.is_name(word)
            or words.is_strange(word)
            or (
                kind is T.PLACE
                and words.is_place(word)
                and not words.is_dictionary_word(word)
                and words.zipf(word) < 4.5
            )
        )
    digits = sum(character.isdigit() for character in word)
    if BIRTHS.fullmatch(word):
        return False
    return digits >= (5 if kind is T.ID else 8)
