"""Finds identifiers by a small neural model over words, trained on generated texts, whose mistakes are other ones.

It sees a word's letters, form and neighbourhood, and no expression of a label, so it finds a name after a cue that no
rule has, and an identifier whose label is misspelt. ``tests/phi/train.py`` made the weights; the probability from which
a word counts is low, since what is found needlessly costs less than what is missed.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.name_signs import EPONYM_AFTER, PARTICLES
from tenancy.redaction.numbers import BIRTHS, is_public
from tenancy.redaction.port import Span
from tenancy.redaction.token_features import features, tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "token-model"
WEIGHTS = "token_model.npz"
CLASSES: tuple[T | None, ...] = (None, T.PERSON, T.PLACE, T.DATE, T.ID)
"""What a word is, coarsely; None is no identifier. A rule that finds more of the same place gives the finer kind."""

THRESHOLD = 0.35
BESIDE = 0.1
"""The probability from which a word counts by itself, and from which it does beside one that counts."""

_WORDS_AT_ONCE = 4096
"""Bounds the memory that a long text takes."""

FREE = 0.7
"""The probability from which the word lists are not asked."""

PART = 0.2
"""The probability from which any word, letter or hyphen beside a name is part of it: ``shanice w``."""

COMMON_SURNAME = 0.05
"""Smith, Jones, Wilson: surnames of one in two thousand, which are somebody's more often than a sign's."""

_LOWER_PARTICLES = frozenset({"de", "van", "von", "der", "da", "das", "dos", "del", "della", "di", "du", "bin", "ibn"})
_BEFORE = re.compile(r"(?P<word>[^\W\d_]+)(?P<sign> {1,2}|-)$")
_AFTER = re.compile(r"(?P<sign> {1,2}|-)(?P<word>[^\W\d_]+)")
_SCORED = re.compile(r" \d{1,2}(?!\d|\s?-?(?:y|[mf]\b|mo\b|wk|week|male|female))", re.IGNORECASE)
"""``Braden 14``: an eponym before a number that is no age."""
_ARTICLE = re.compile(r"an?|the|this|any|no|each|every", re.IGNORECASE)
_NO_VERB = re.compile(
    r"(?:of|the|an?|from|any|urine|blood|matter|discharge|fluid|stool|sputum|pus|bleeding|hair|eyes|skin|period|weight|"
    r"scale|cold|light|colou?r)",
    re.IGNORECASE,
)
"""What stands after a word rather than after the name that it is too."""
_OWNED = re.compile(r"['\u2019]s?$", re.IGNORECASE)
_VOWEL = re.compile(r"[aeiouy\u00c0-\u1eff]", re.IGNORECASE)

WORD_TOO = 0.7
"""The probability from which ``joy`` or ``mark``, in lower case, is somebody."""

EPONYM = 0.9
"""The probability from which an eponym, with no sign or disease after it, is somebody's name."""


@dataclass(frozen=True)
class Opinion:
    """How likely each word of a text is of each class."""

    text: str
    spans: list[tuple[int, int]]
    odds: NDArray[np.float32]

    def of(self, start: int, end: int) -> float:
        """The probability that something identifies somebody between two characters."""
        first = bisect_right(self.spans, start, key=lambda span: span[1])
        last = bisect_left(self.spans, end, key=lambda span: span[0])
        return 1.0 - float(self.odds[first:last, 0].min()) if first < last else 1.0


class Tagger:
    """The token model. Reads 2 MB of weights and the word lists when it is made."""

    def __init__(self) -> None:
        words.load()
        with as_file(files("tenancy.redaction").joinpath(WEIGHTS)) as path, np.load(path, allow_pickle=False) as stored:
            self._sums: NDArray[np.float32] = stored["sums"].astype(np.float32) * stored["scale"]
            self._hidden: NDArray[np.float32] = stored["hidden"]
            self._out: NDArray[np.float32] = stored["out"]
            self._bias: NDArray[np.float32] = stored["bias"]

    def opinion(self, text: str) -> Opinion:
        spans = tokens(text)
        rows = features(text, spans)
        parts = [self._odds(rows[at : at + _WORDS_AT_ONCE]) for at in range(0, len(rows), _WORDS_AT_ONCE)]
        return Opinion(text, spans, np.concatenate(parts) if parts else np.zeros((0, len(CLASSES)), np.float32))

    def _odds(self, rows: list[list[int]]) -> NDArray[np.float32]:
        """The probability of each class for each word."""
        ends = np.cumsum([0, *map(len, rows[:-1])])
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        sums = np.add.reduceat(self._sums[flat], ends, axis=0) + self._hidden
        scores = np.maximum(sums, 0) @ self._out + self._bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
        return shares


def found(opinion: Opinion) -> Iterator[Span]:
    """Runs of words of one class, as far as each word can be one.

    A run begins with a word that is likely; a word beside it need only be possible, as in ``Pili Maldonado``.
    """
    text, spans, odds = opinion.text, opinion.spans, opinion.odds
    kinds = [_kind(text, span, row, THRESHOLD) for span, row in zip(spans, odds, strict=True)]
    for order in (range(1, len(spans)), range(len(spans) - 2, -1, -1)):
        step = order.step
        for index in order:
            beside = kinds[index - step]
            if (
                kinds[index] is None
                and beside in (T.PERSON, T.PLACE, T.ID)
                and _touch(text, spans, index, index - step)
            ):
                kinds[index] = _kind(text, spans[index], odds[index], BESIDE, only=beside)
    _join_names(text, spans, kinds)
    open_at: tuple[int, int, T] | None = None
    for (start, end), kind in zip(spans, kinds, strict=True):
        if open_at is not None and (kind is not open_at[2] or start - open_at[1] > 1):
            yield _span(text, *open_at)
            open_at = None
        if kind is not None:
            open_at = (open_at[0] if open_at else start, end, kind)
    if open_at is not None:
        yield _span(text, *open_at)


def _span(text: str, start: int, end: int, kind: T) -> Span:
    """Without the sign of possession at its end."""
    owned = _OWNED.search(text, start, end)
    return Span(start, owned.start() if owned else end, kind, NAME)


def _kind(text: str, span: tuple[int, int], odds: NDArray[np.float32], least: float, only: T | None = None) -> T | None:
    """The class of a word that has at least this probability and can be of it."""
    best = CLASSES.index(only) if only is not None else int(odds[1:].argmax()) + 1
    kind, (start, end) = CLASSES[best], span
    if kind is None or odds[best] < least:
        return None
    word = text[start:end]
    if kind is T.PERSON and _is_a_thing(text, start, word):
        return None
    if only in (T.PERSON, T.PLACE) and 1 - odds[0] >= PART and _is_part(word):
        return kind
    free = odds[best] >= FREE and _is_free(word, kind)
    if not (free or _may_be(text, start, end, kind, float(odds[best])) or (only and _may_go_on(word, kind))):
        return None
    return None if is_public(text, start, end) else kind


def _is_a_thing(text: str, start: int, word: str) -> bool:
    """Whether an article makes a word of the dictionary a thing: ``a clot was found``. It may be a name's initial."""
    before = _BEFORE.search(text, max(0, start - 8), start) if word.islower() else None
    is_article = before is not None and before["sign"] == " " and _ARTICLE.fullmatch(before["word"]) is not None
    return is_article and words.is_dictionary_word(word) and not words.is_sure_first_name(word)


def _is_somebodys(word: str) -> bool:
    return (
        (words.is_surname(word) or words.is_first_name(word)) and words.zipf(word) < 4.6 and not words.is_medical(word)
    )


def _is_free(word: str, kind: T) -> bool:
    """Whether nothing but the model says what a word is: no drug, no function word, no short number."""
    if kind in (T.PERSON, T.PLACE):
        plain = word.replace("'", "")
        return len(word) > 1 and plain.isalpha() and not words.is_function_word(word) and not _is_of_medicine(word)
    digits = sum(map(str.isdigit, word))
    long = digits >= 5 or (digits >= 3 and digits < len(word))
    return kind is T.ID and long and BIRTHS.fullmatch(word) is None


def _is_of_medicine(word: str) -> bool:
    return words.is_clinical(word) or (word.islower() and words.is_medical(word))


def _is_part(word: str) -> bool:
    """Whether a word, a letter or a hyphen between or beside names may be of them: no ``with``, no state."""
    if len(word) == 1:
        return word.isalpha() or word in "-'."
    wordy = words.is_function_word(word) or words.is_large_region(word)
    return word.isalpha() and not wordy and not _is_of_medicine(word)


def _may_go_on(word: str, kind: T) -> bool:
    """Whether a word beside an identifier can be part of it though it is a word: ``Indy Keith``, ``8KLM 442``."""
    if kind is T.ID:
        return word.isalnum() and (word.isupper() or any(map(str.isdigit, word)))
    if words.is_function_word(word) or words.is_medical(word) or words.is_eponym(word):
        return False
    return word.isalpha() and (words.is_surname(word) or words.is_first_name(word)) and words.zipf(word) < 4.6


def _join_names(text: str, spans: list[tuple[int, int]], kinds: list[T | None]) -> None:
    """Give particles and initials between and before the parts of a name to it: ``E. das Neves``, ``Ó Hogain``."""
    for index in range(len(spans) - 2, -1, -1):
        start, end = spans[index]
        word, near = text[start:end], text[end : spans[index + 1][0]]
        if kinds[index] is not None or kinds[index + 1] is not T.PERSON or near not in (" ", ""):
            continue
        particle = words.plain(word) in PARTICLES and (word[0].isupper() or word in _LOWER_PARTICLES)
        initial = len(word) == 1 and word.isupper() and index > 0 and kinds[index - 1] is T.PERSON
        mark = word in ".'-" and index > 0 and len(text[slice(*spans[index - 1])]) == 1 and text[start - 1].isupper()
        if particle or initial or mark:
            kinds[index] = T.PERSON


def _touch(text: str, spans: list[tuple[int, int]], one: int, other: int) -> bool:
    """Whether between two words stands nothing but a blank or a hyphen."""
    first, second = sorted((spans[one], spans[other]))
    return text[first[1] : second[0]] in (" ", "", "  ")


def _may_be(text: str, start: int, end: int, kind: T, odds: float) -> bool:
    """Whether medicine lets this word be of that kind: drugs are nobody's name, and numbers of two digits no number."""
    word = text[start:end]
    if kind in (T.PERSON, T.PLACE):
        if len(word) < 2 or not word.replace("'", "").isalpha() or words.is_function_word(word):
            return False
        if words.is_clinical(word) or _stands_for_a_sign(text, start, end, odds):
            return False
        if word.islower() and words.has_two_senses(word) and odds < WORD_TOO:
            return False
        if word.islower() and words.is_dictionary_word(word) and _qualifies(text, end):
            return False
        unlisted = words.is_strange(word) and _VOWEL.search(word) is not None
        unlisted = unlisted and not (kind is T.PLACE and word.islower() and len(word) < 4)
        return (
            words.is_name(word)
            or (unlisted and not (word.isupper() and len(word) < 5))
            or (word[0].isupper() and not word.isupper() and _is_somebodys(word))
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


def _qualifies(text: str, end: int) -> bool:
    """Whether what stands after a word makes it no name: ``frank hematuria``, ``joy of``, ``mark the``."""
    after = _AFTER.match(text, end)
    return after is not None and (_NO_VERB.fullmatch(after["word"]) is not None or words.is_medical(after["word"]))


def _stands_for_a_sign(text: str, start: int, end: int, odds: float) -> bool:
    """Whether a word is an eponym rather than somebody: by what stands after it, before it, or at its hyphen."""
    word = text[start:end]
    before, after = _BEFORE.search(text, max(0, start - 40), start), _AFTER.match(text, end)
    first_name = before is not None and before["sign"] == " " and words.is_sure_first_name(before["word"])
    if EPONYM_AFTER.match(text, end) and not first_name:
        return words.is_eponym(word) or not words.is_sure_first_name(word)
    joined = [near["word"] for near in (before, after) if near is not None and near["sign"] == "-"]
    if any(map(words.is_eponym, joined)):
        return True
    if words.is_eponym(word) and not first_name and _SCORED.match(text, end):
        return True
    if not words.is_eponym(word) or words.is_sure_first_name(word) or first_name:
        return False
    paired = before is not None and words.is_eponym(before["word"])
    return paired or odds < EPONYM or words.surname_share(word) < COMMON_SURNAME
