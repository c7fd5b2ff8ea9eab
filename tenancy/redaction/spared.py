"""Spares phrases of medicine that are made of names, and places in documents: ``Bence Jones``, ``Formulary P-01``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from tenancy.redaction.lexicon import word_set
from tenancy.redaction.port import Detector, Span

_IN_A_DOCUMENT = (
    r"(?:formulary|guidelines?|protocol|pathway|sop|chapter|section|appendix|table|figure|list|standard|handbook)"
    r"\s[a-z]{0,2}-?\d{1,2}[a-z]?"
)
"""Of codes so short that they are no person's."""


class Sparing:
    """A detector without what it finds inside one of those phrases."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector
        self._phrases = _phrases()

    def find(self, text: str) -> Iterator[Span]:
        spared = [match.span() for match in self._phrases.finditer(text)]
        for span in self._detector.find(text):
            before = bisect_right(spared, span.start, key=lambda phrase: phrase[0])
            if before == 0 or spared[before - 1][1] < span.end:
                yield span


def _phrases() -> re.Pattern[str]:
    longest_first = sorted(word_set("phrases.txt"), key=len, reverse=True)
    phrases = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![\w'])(?:(?:{phrases})(?!\w)|{_IN_A_DOCUMENT}(?![\w-]))", re.IGNORECASE)
