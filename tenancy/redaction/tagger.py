"""Makes identifiers of what the token model says of each word: runs of one class, as far as each word can be one.

The probability from which a word counts is low, since what is found needlessly costs less than what is missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.name_signs import EPONYM_AFTER, PARTICLES, is_classed
from tenancy.redaction.numbers import BIRTHS, is_public
from tenancy.redaction.place_signs import GENERIC
from tenancy.redaction.port import Span
from tenancy.redaction.token_model import CLASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenancy.redaction.token_model import Opinion

NAME = "token-model"
_NAMES: tuple[T | None, ...] = (T.PERSON, T.PLACE)
_NUMBERS: tuple[T | None, ...] = (T.PLACE, T.ID)

THRESHOLD = 0.2
BESIDE = 0.08
"""The probability from which a word counts by itself, and from which it does beside one that counts."""

FREE = 0.65
"""The probability from which the word lists are not asked."""

SURE = 0.85
"""The probability from which a name may be a word of medicine that has a capital, and from which a date is one."""

PART = 0.2
"""The probability from which any word, letter or hyphen beside a name is part of it: ``shanice w``."""

COMMON_SURNAME = 0.05
"""Smith, Jones, Wilson: surnames of one in two thousand, which are somebody's more often than a sign's."""

_LOWER_PARTICLES = frozenset({"de", "van", "von", "der", "da", "das", "dos", "del", "della", "di", "du", "bin", "ibn"})
_BEFORE = re.compile(r"(?P<word>[^\W\d_]+)(?P<sign> {1,2}|-)$")
_AFTER = re.compile(r"(?P<sign> {1,2}|-)(?P<word>[^\W\d_]+)")
_SCORED = re.compile(r" \d{1,2}(?!\d|\s?-?(?:y|[mf]\b|mo\b|wk|week|male|female))", re.IGNORECASE)
"""``Braden 14``: an eponym before a number that is no age."""
_ARTICLE = re.compile(r"an?|the|this|any|no|each|every|retired|former", re.IGNORECASE)
_GENERAL_PLACE = re.compile(
    rf"(?:(?:{'|'.join(map(re.escape, sorted(GENERIC)))}|urban|suburban|group|solo) )*"
    r"(?:practice|bay|ward|unit|suite|surgery|clinic)"
)
_ABBREVIATIONS = re.compile(r"[A-Z]{2,}[a-z]{1,2}")
"""``UTIs``, ``DXd``: their capitals are no name's."""
_NO_VERB = re.compile(
    r"(?:of|the|an?|from|any|urine|blood|matter|discharge|fluid|stool|sputum|pus|bleeding|hair|eyes|skin|period|weight|"
    r"scale|cold|light|colou?r)",
    re.IGNORECASE,
)
"""What stands after a word rather than after the name that it is too."""
_DATE_SHAPE = re.compile(
    r"(?<![\w./-])\d{1,2}([/.-])\d{1,2}(?:\1\d{2,4})?(?![\w/%]|\.\d)|"
    r"(?<![\w./-])\d{1,2}(?:st|nd|rd|th)?\.? (?:(?:de|of) )?[^\W\d_]{3,10}\.?(?: (?:de )?(?:\d{4}|'?\d\d))?(?!\w)"
)
_DOCUMENT = re.compile(
    r"(?:[A-Z][\w-]* ){0,3}(?:Rules|Polic(?:y|ies)|Guidelines?|Handbook|Manual|Procedures?|Formulary|Checklist|Pathway|"
    r"Bundle|Standards?)(?!\w)"
)
"""``House Safety Rules``: papers are called so."""
_BEGINS = re.compile(r"(?:\A|[.!?:\n])\s{0,2}$")
"""Where a sentence begins, and a capital says nothing."""
_OWNED = re.compile(r"['\u2019]s?$", re.IGNORECASE)
_QUANTITY = re.compile(r"\d{1,3}0s|\d{1,4}[jk]", re.IGNORECASE)
"""``in the 120s``, ``200J``, ``250k``."""
_VOWEL = re.compile(r"[aeiouy\u00c0-\u1eff]", re.IGNORECASE)

WORD_TOO = 0.6
"""The probability from which ``joy`` or ``mark``, in lower case, is somebody."""

STORY, FEWEST = 0.5, 3
"""The probability from which a word is told of one person only, and how many together are believed."""

EPONYM, SURE_EPONYM = 0.9, 0.98
"""The probability from which an eponym, with no sign or disease after it, is somebody: a common surname or a rare."""


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
    yield from _dates(opinion)
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
        if all(opinion.odds[index, date] >= SURE for index in between if text[spans[index][0]].isalnum()):
            yield Span(match.start(), match.end(), T.DATE, NAME)


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
    """A run without the sign of possession at its end; none where it is a state, a country or any practice."""
    owned = _OWNED.search(text, start, end)
    end = owned.start() if owned else end
    if kind is not T.PLACE or not (_is_region(text[start:end]) or _GENERAL_PLACE.fullmatch(text[start:end])):
        yield Span(start, end, kind, NAME)


def _is_region(place: str) -> bool:
    return words.is_large_region(place) and place.lower() not in ("new york", "washington")


def _kind(text: str, span: tuple[int, int], odds: NDArray[np.float32], least: float, only: T | None = None) -> T | None:
    """The class of a word that has at least this probability and can be of it."""
    best = CLASSES.index(only) if only is not None else int(odds[1:].argmax()) + 1
    kind, (start, end) = CLASSES[best], span
    word = text[start:end]
    # A firm is a name as well as a place, a house's number one as well as a place: one class takes from the other.
    alike = _NUMBERS if kind in _NUMBERS and word[0].isdigit() else _NAMES if kind in _NAMES else (kind,)
    share = sum(float(odds[CLASSES.index(other)]) for other in alike)
    if kind is None or share < least:
        return None
    if (
        kind in (T.PERSON, T.PLACE)
        and share < SURE
        and only is None
        and words.is_abbreviation(word)
        and not text.isupper()
    ):
        return None
    if kind is T.PERSON and (
        _is_a_thing(text, start, word) or is_classed(text, start, end) or _ABBREVIATIONS.fullmatch(word)
    ):
        return None
    if _is_everyday(text, start, end, share):
        return None
    if only in (T.PERSON, T.PLACE) and 1 - odds[0] >= PART and _is_part(word, 1 - float(odds[0])):
        return kind
    if only is T.ID and word in "-/":
        return kind if share >= FREE else None
    free = share >= FREE and _is_free(word, kind)
    sure = share >= SURE and _may_be_surely(text, start, word, kind)
    if not (free or sure or _may_be(text, start, end, kind, share) or (only and _may_go_on(word, kind))):
        return None
    return None if is_public(text, start, end) else kind


def _is_a_thing(text: str, start: int, word: str) -> bool:
    """Whether an article makes a word of the dictionary a thing: ``a clot was found``. It may be a name's initial."""
    before = _BEFORE.search(text, max(0, start - 8), start) if word.islower() else None
    is_article = before is not None and before["sign"] == " " and _ARTICLE.fullmatch(before["word"]) is not None
    return is_article and words.is_dictionary_word(word) and not words.is_sure_first_name(word)


def _is_everyday(text: str, start: int, end: int, odds: float) -> bool:
    """Whether a word of the dictionary is only that: joined to one (``high-flow``), or a sentence's beginning."""
    word = text[start:end]
    if not (_is_nobodys(word) or _is_a_word_too(word)):
        return False
    if word.istitle() and odds < SURE and _DOCUMENT.match(text, start):
        return True
    begins = word.istitle() and _BEGINS.search(text, max(0, start - 3), start) is not None
    near = _BEFORE.search(text, max(0, start - 24), start), _AFTER.match(text, end)
    joined = [side["word"] for side in near if side is not None and side["sign"] == "-"]
    return (begins and odds < SURE) or (
        word.islower() and any(other.islower() and (_is_nobodys(other) or _is_a_word_too(other)) for other in joined)
    )


def _is_a_word_too(word: str) -> bool:
    """``mark`` in ``mark-ups``."""
    return word.islower() and words.has_two_senses(word)


def _is_nobodys(word: str) -> bool:
    return words.is_dictionary_word(word) and not words.is_sure_first_name(word) and not words.is_name(word)


def _has_a_bearer(word: str) -> bool:
    return words.is_surname(word) or words.is_first_name(word) or words.is_place(word)


def _is_somebodys(word: str) -> bool:
    return (
        (words.is_surname(word) or words.is_first_name(word)) and words.zipf(word) < 4.6 and not words.is_medical(word)
    )


def _is_free(word: str, kind: T) -> bool:
    """Whether nothing but the model says what a word is: no drug, no function word, no short number."""
    if kind is T.PLACE and word[0].isdigit():
        return len(word) > 2
    if kind in (T.PERSON, T.PLACE):
        plain = word.replace("'", "")
        if len(word) > 4 and word.islower() and words.zipf(word) >= 3 and not _has_a_bearer(word):
            return False
        return len(word) > 1 and plain.isalpha() and not words.is_function_word(word) and not _is_of_medicine(word)
    digits = sum(map(str.isdigit, word))
    long = digits >= 5 or (digits >= 3 and digits < len(word) and _QUANTITY.fullmatch(word) is None)
    return kind is T.ID and long and BIRTHS.fullmatch(word) is None


def _may_be_surely(text: str, start: int, word: str, kind: T) -> bool:
    """Whether a word may be a name where the model is sure: ``Royal Mail``, ``Good Sam``, ``rich chase``."""
    if kind not in (T.PERSON, T.PLACE) or len(word) < 2 or not word.replace("'", "").isalpha():
        return False
    if words.is_eponym(word) and _is_joined_to_an_eponym(text, start, start + len(word)):
        return False
    named = not word.islower() and _BEGINS.search(text, max(0, start - 3), start) is None
    return named or not (words.is_function_word(word) or words.is_clinical(word) or words.has_clinical_ending(word))


def _is_joined_to_an_eponym(text: str, start: int, end: int) -> bool:
    """``Stokes`` in ``Cheyne-Stokes``."""
    near = _BEFORE.search(text, max(0, start - 40), start), _AFTER.match(text, end)
    return any(side is not None and side["sign"] == "-" and words.is_eponym(side["word"]) for side in near)


def _is_of_medicine(word: str) -> bool:
    return words.is_clinical(word) or (word.islower() and words.is_medical(word))


def _is_part(word: str, odds: float) -> bool:
    """Whether a word, a letter or a hyphen between or beside names may be of them: mostly no ``with``, no state."""
    if len(word) == 1:
        return word.isalpha() or word in "-'."
    wordy = words.is_function_word(word) or words.is_large_region(word) or words.is_clinical(word)
    return word.isalpha() and (not wordy or odds >= (FREE if word.istitle() else SURE))


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
    before = _BEFORE.search(text, max(0, start - 40), start)
    first_name = before is not None and before["sign"] == " " and words.is_sure_first_name(before["word"])
    if EPONYM_AFTER.match(text, end) and not first_name:
        return words.is_eponym(word) or not words.is_sure_first_name(word)
    if _is_joined_to_an_eponym(text, start, end):
        return True
    if words.is_eponym(word) and not first_name and _SCORED.match(text, end):
        return True
    if not words.is_eponym(word) or words.is_sure_first_name(word) or first_name:
        return False
    paired = before is not None and words.is_eponym(before["word"])
    return paired or odds < (EPONYM if words.surname_share(word) >= COMMON_SURNAME else SURE_EPONYM)
