"""Has the token model judge what other detectors take for names and places, and adds what it finds of itself.

Rules find names by one sign, and Presidio's model was trained on news. What they take for a name, and the token model
hardly, is mostly a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction import words
from tenancy.redaction.name_signs import AGE_AHEAD
from tenancy.redaction.port import Detector, Span
from tenancy.redaction.rules import NAME as RULES
from tenancy.redaction.tagger import NAME, found
from tenancy.redaction.token_model import Tagger
from tenancy.redaction.whole import whole

DOUBT = 0.1
"""Below that probability a name or a place of another detector is none."""

COMMON = 0.02
"""Percent of people of whose first name a rule is believed."""

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
        for detector in self._detectors:
            for span in detector.find(text):
                if span.type not in _NAMES or opinion.of(span.start, span.end) >= DOUBT or _is_common(text, span):
                    yield whole(text, span)
        for span in found(opinion):  # last: of two kinds of the same place, a rule's is the finer
            yield whole(text, span)


def _is_common(text: str, span: Span) -> bool:
    """Whether a rule found a first name with a capital that many have, or initials before an age: ``JT, 44M``."""
    word = text[span.start : span.end]
    many = word.istitle() and words.first_name_share(word) >= COMMON
    aged = word.isupper() and len(word) < 4 and AGE_AHEAD.match(text, span.end) is not None
    return span.detector == RULES and (many or aged)
