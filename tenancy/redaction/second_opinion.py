"""Has the token model judge what other detectors take for names and places, and adds what it finds of itself.

Rules find names by one sign, and Presidio's model was trained on news. What they take for a name, and the token model
hardly, is mostly a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction import words
from tenancy.redaction.name_signs import AGE_AHEAD
from tenancy.redaction.port import Detector, Span
from tenancy.redaction.rules import NAME as RULES
from tenancy.redaction.tagger import NAME, found
from tenancy.redaction.token_model import Opinion, Tagger
from tenancy.redaction.whole import whole

DOUBT = 0.07
"""Below that probability a name or a place of another detector is none."""

COMMON = 0.02
"""Percent of people of whose first name a rule is believed."""

SELDOM = 0.002
"""Percent of people of whose first name nobody is believed where it is a country's or a state's too."""

_IN_A_REGION = re.compile(r"\b(?:in|from|to|of|across|outside|than)\s\Z", re.IGNORECASE)

_NAMES = frozenset(kind for kind, letter in SAFE_HARBOR.items() if letter == "A") | {
    IdentifierType.PLACE,
    IdentifierType.FACILITY,
}


class SecondOpinion:
    """All detectors of a gate as one, so that the model reads a text once."""

    name = NAME

    def __init__(self, tagger: Tagger, detectors: Sequence[Detector]) -> None:
        self._tagger, self._detectors = tagger, tuple(detectors)

    def find(self, text: str) -> Iterator[Span]:
        opinion = self._tagger.opinion(text)
        for span in self._all(text, opinion):
            if span.type not in _NAMES or not _is_region(text, span):
                yield whole(text, span)

    def _all(self, text: str, opinion: Opinion) -> Iterator[Span]:
        for detector in self._detectors:
            for span in detector.find(text):
                if span.type not in _NAMES or opinion.of(span.start, span.end) >= DOUBT or _is_common(text, span):
                    yield span
        yield from found(opinion)  # last: of two kinds of the same place, a rule's is the finer


def _is_common(text: str, span: Span) -> bool:
    """Whether a rule found what is a name by itself.

    A first name with a capital that many have, an initial behind a title, two initials, initials before an age, two
    surnames as one, or ``SMITH^JOHN``.
    """
    word = text[span.start : span.end]
    many = word.istitle() and words.first_name_share(word) >= COMMON
    aged = word.isupper() and len(word) < 4 and AGE_AHEAD.match(text, span.end) is not None
    parts = word.rpartition(" ")[2].split("-")
    double = len(parts) == 2 and all(words.is_surname(part) and not words.is_eponym(part) for part in parts)
    return span.detector == RULES and (many or aged or double or "^" in word or (len(word) < 3 and word.isupper()))


def _is_region(text: str, span: Span) -> bool:
    """Whether a name or a place is a country or a state, which Safe Harbor leaves in: ``traveller to Kenya``."""
    word = text[span.start : span.end]
    if not words.is_large_region(word) or len(word) < 4 or "." in word or word.lower() in ("new york", "washington"):
        return False
    share = words.first_name_share(word)
    before = text[max(0, span.start - 8) : span.start]
    return share < SELDOM or (share < COMMON and _IN_A_REGION.search(before) is not None)
