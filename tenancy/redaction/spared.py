"""Spares phrases of medicine that are made of names: ``St. John's wort``, ``Bence Jones``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from tenancy.redaction.lexicon import word_set
from tenancy.redaction.port import Detector, Span


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
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
