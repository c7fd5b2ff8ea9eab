"""Finds identifiers by rules: labels, shapes, calendars, and what stands around names and places."""

from __future__ import annotations

from collections.abc import Iterator

from tenancy.redaction import ages, dates, labelled, names, numbers, partial_places, places, spoken, words
from tenancy.redaction.port import Span

NAME = "clinical-rules"


class RuleDetector:
    """The rules of this package. Reads its word lists at once, so that no later call pays for them."""

    name = NAME

    def __init__(self) -> None:
        words.load()

    def find(self, text: str) -> Iterator[Span]:
        for subject in (labelled, numbers, dates, spoken, ages, places, partial_places, names):
            for start, end, kind in subject.find(text):
                yield Span(start, end, kind, NAME)
