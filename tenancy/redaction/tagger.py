"""Makes identifiers of what the token model says of each word: runs of one class, as far as each word can be one.

How likely a word has to be depends on how much of a word it is: little for what is a name or in no list, since what is
found needlessly costs less than what is missed, and much for English and medicine. Beside an identifier less is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.name_signs import EPONYM_AFTER, PARTICLES, is_classed
from tenancy.redaction.numbers import BIRTHS, UNIT, is_public
from tenancy.redaction.port import Span
from tenancy.redaction.token_model import CLASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenancy.redaction.token_model import Opinion

NAME = "token-model"
_NAMES: tuple[T | None, ...] = (T.PERSON, T.PLACE)
_NUMBERS: tuple[T | None, ...] = (T.PLACE, T.ID)

Least = tuple[float, float]
"""The probability from which a word counts by itself, and from which it does beside one that counts."""

UNKNOWN: Least = (0.12, 0.08)
"""Of names, of words in no list, of long numbers and of capitals amid numbers."""

LISTED: Least = (0.35, 0.08)
"""Of words with a capital of which people and places are called too."""

WORD: Least = (0.65, 0.2)
"""Of other words."""

COMMON: Least = (0.8, 0.2)
"""Of words of medicine, eponyms, abbreviations and the words between which names stand."""

SIGN: Least = (0.9, 0.65)
"""Of states, and of what stands before a sign, a disease or a device."""

_SHORT: Least = (0.65, 0.08)
"""Of short numbers."""

_PART: Least = (2.0, 0.2)
"""Of letters and marks, which are none by themselves."""

_BESIDE: Least = (2.0, 0.08)
"""Of what a number may go on with."""

EVERYDAY, NOBODYS = 4.2, -8.5
"""What is in lower case, written as often as that, and less like a name, is a word: ``counter``, ``problem``."""

_NEVER: Least = (2.0, 2.0)

DATE, STORY, FEWEST = 0.85, 0.5, 3
"""The probability from which each part of a date is of one, and from which a word is told of one person only; so many
words together are believed."""

AGE = 0.85
"""The probability from which a number over 89 is an age."""

_OLD = re.compile(r"9\d|1[01]\d")
_MEASURED = re.compile(r"[%/.-]\w|\s?(?:%|[km]?g\b|lbs?\b|cm\b|m[ml]\b|bpm\b|on\s(?:ra|air|\d))", re.IGNORECASE)
_LOWER_PARTICLES = frozenset({"de", "van", "von", "der", "da", "das", "dos", "del", "della", "di", "du", "bin", "ibn"})
_BEFORE = re.compile(r"(?P<word>[^\W\d_]+)(?P<sign> {1,2}|-)$")
_DATE_SHAPE = re.compile(
    r"(?<![\w./-])\d{1,2}([/.-])\d{1,2}(?:\1\d{2,4})?(?![\w/%]|\.\d)|"
    r"(?<![\w./-])\d{1,2}(?:st|nd|rd|th)?\.? (?:(?:de|of) )?[^\W\d_]{3,10}\.?(?: (?:de )?(?:\d{4}|'?\d\d))?(?!\w)"
)
_OWNED = re.compile(r"['\u2019]s?$", re.IGNORECASE)
_VALUE = re.compile(r"\w|\s?[-+=:]?\s?\d")
_QUANTITY = re.compile(r"\d{1,3}0s|\d{1,4}[jk]", re.IGNORECASE)
"""``in the 120s``, ``200J``, ``250k``."""


def found(opinion: Opinion) -> Iterator[Span]:
    """Runs of words of one class, as far as each word can be one.

    A run begins with a word that is likely; a word beside it need only be possible, as in ``Pili Maldonado``.
    """
    text, spans, odds = opinion.text, opinion.spans, opinion.odds
    kinds = [_kind(text, span, row) for span, row in zip(spans, odds, strict=True)]
    for order in (range(1, len(spans)), range(len(spans) - 2, -1, -1)):
        step = order.step
        for index in order:
            beside = kinds[index - step]
            if (
                kinds[index] is None
                and beside in (T.PERSON, T.PLACE, T.ID)
                and _touch(text, spans, index, index - step)
            ):
                kinds[index] = _kind(text, spans[index], odds[index], beside)
    _join_names(text, spans, kinds)
    _initial_behind(text, spans, kinds)
    yield from _dates(opinion)
    yield from _ages(opinion)
    yield from _stories(opinion)
    open_at: tuple[int, int, T] | None = None
    for (start, end), kind in zip(spans, kinds, strict=True):
        if open_at is not None and (kind is not open_at[2] or start - open_at[1] > 1):
            yield from _spans(text, *open_at)
            open_at = None
        if kind is not None:
            open_at = (open_at[0] if open_at else start, end, kind)
    if open_at is not None:
        yield from _spans(text, *open_at)


def _dates(opinion: Opinion) -> Iterator[Span]:
    """Find what looks like a date where the model is sure of each word and number: ``fell 3/4``, ``1. mars 1988``."""
    text, spans, date = opinion.text, opinion.spans, CLASSES.index(T.DATE)
    for match in _DATE_SHAPE.finditer(text):
        between = opinion.between(match.start(), match.end())
        if all(opinion.odds[index, date] >= DATE for index in between if text[spans[index][0]].isalnum()):
            yield Span(match.start(), match.end(), T.DATE, NAME)


def _ages(opinion: Opinion) -> Iterator[Span]:
    """Find a number over 89 that the model takes for somebody's age: ``91 & stubborn``."""
    text, date = opinion.text, CLASSES.index(T.DATE)
    for (start, end), row in zip(opinion.spans, opinion.odds, strict=True):
        is_part = text[max(0, start - 1) : start] in ("-", "/", ".")  # of a code or a measure
        if row[date] >= AGE and not is_part and _OLD.fullmatch(text, start, end) and not _MEASURED.match(text, end):
            yield Span(start, end, T.AGE, NAME)


def _stories(opinion: Opinion) -> Iterator[Span]:
    """Find words that tell together who somebody is: ``the island's last ferry pilot``."""
    text, spans = opinion.text, opinion.spans
    told = [float(row[CLASSES.index(T.ID)]) >= STORY for row in opinion.odds]
    first = 0
    for index in range(len(spans) + 1):
        if index == len(spans) or not told[index] or (index and "\n" in text[spans[index - 1][1] : spans[index][0]]):
            run = text[spans[first][0] : spans[index - 1][1]] if index > first else ""
            if len(run.split()) >= FEWEST and not any(map(str.isdigit, run)):
                yield Span(spans[first][0], spans[index - 1][1], T.ID, NAME)
            first = index + 1


def _spans(text: str, start: int, end: int, kind: T) -> Iterator[Span]:
    """A run without the sign of possession at its end."""
    owned = _OWNED.search(text, start, end)
    if not is_public(text, start, end):
        yield Span(start, owned.start() if owned else end, kind, NAME)


def _kind(text: str, span: tuple[int, int], odds: NDArray[np.float32], beside: T | None = None) -> T | None:
    """The class of a word that is likely enough; ``beside`` is that of its neighbour, which it can only share."""
    best = CLASSES.index(beside) if beside is not None else int(odds[1:].argmax()) + 1
    kind, (start, end) = CLASSES[best], span
    # A firm is a name as well as a place, a house's number one as well as a place: one class takes from the other.
    alike = _NUMBERS if kind in _NUMBERS and text[start].isdigit() else _NAMES if kind in _NAMES else (kind,)
    share = sum(float(odds[CLASSES.index(other)]) for other in alike)
    if kind is None or share < UNKNOWN[1]:
        return None
    least = _least(text, start, end, kind)[beside is not None]
    return kind if share >= least and not is_public(text, start, end) else None


def _least(text: str, start: int, end: int, kind: T) -> Least:
    """How likely a word has to be."""
    word = text[start:end]
    if any(map(str.isdigit, word)):
        unit = UNIT.match(text, end)
        measured = unit is not None and not text[unit.end() : unit.end() + 1].isalpha()  # "6087 calle ocho" is none
        return _NEVER if measured else _least_of_number(word, kind)
    if kind not in _NAMES:
        return UNKNOWN if kind is T.ID and (word.isupper() or word in "-/") else _NEVER
    if len(word) == 1:
        return _PART
    if words.is_large_region(word) or _stands_for_a_sign(text, start, end):
        return SIGN
    medical = words.is_medical(word) or words.is_eponym(word) or words.is_abbreviation(word)
    if medical or words.is_function_word(word):
        return COMMON
    if words.is_name(word) or words.is_strange(word):
        return UNKNOWN
    if word.islower() and words.zipf(word) >= EVERYDAY and words.name_likeness(word) < NOBODYS:
        return COMMON
    listed = words.is_surname(word) or words.is_first_name(word) or words.is_place(word)
    return LISTED if listed and word[0].isupper() else WORD


def _least_of_number(word: str, kind: T) -> Least:
    digits = sum(map(str.isdigit, word))
    if BIRTHS.fullmatch(word) or _QUANTITY.fullmatch(word):
        return _NEVER
    if digits >= (8 if kind is T.DATE else 5):
        return UNKNOWN
    short = len(word) > 2 if kind is T.PLACE else kind is T.ID and 3 <= digits < len(word)
    return _SHORT if short else _BESIDE if kind is T.ID else _NEVER


def _stands_for_a_sign(text: str, start: int, end: int) -> bool:
    """Whether a word is an eponym rather than somebody: by what stands after it, or at its hyphen."""
    word = text[start:end]
    before = _BEFORE.search(text, max(0, start - 40), start)
    first_name = before is not None and before["sign"] == " " and words.is_sure_first_name(before["word"])
    if EPONYM_AFTER.match(text, end) and not first_name:
        return words.is_eponym(word) or not words.is_sure_first_name(word)
    return is_classed(text, start, end)


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


def _initial_behind(text: str, spans: list[tuple[int, int]], kinds: list[T | None]) -> None:
    """Give the first letter of a surname to the first name before it: ``Bruce W, CHF``; no sex and no potassium."""
    for index in range(1, len(spans)):
        letter = text[slice(*spans[index])] if kinds[index] is None and kinds[index - 1] is T.PERSON else ""
        if len(letter) != 1 or not letter.isupper() or letter in "FKM" or _VALUE.match(text, spans[index][1]):
            continue
        if words.is_first_name(text[slice(*spans[index - 1])]):
            kinds[index] = T.PERSON


def _touch(text: str, spans: list[tuple[int, int]], one: int, other: int) -> bool:
    """Whether between two words stands nothing but a blank or a hyphen."""
    first, second = sorted((spans[one], spans[other]))
    return text[first[1] : second[0]] in (" ", "", "  ")
