"""Finds a tenant's own terms: staff names, wards, local places. The rest of a gate's detectors know none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from schemas.base.redaction import IdentifierType
from tenancy.redaction.port import Span
from tenancy.redaction.reading import read

NAME = "tenant-terms"
_WORD = re.compile(r"[^\W_]+")

Words = tuple[str, ...]


class TermDetector:
    """Matches terms as whole words in any case, whatever blanks or marks stand between the words.

    By a dictionary and not by an expression: Python keeps the expressions that it compiles, and the terms are PHI.
    """

    def __init__(self, terms: Mapping[str, IdentifierType]) -> None:
        self._types: dict[Words, IdentifierType] = {key: kind for term, kind in terms.items() if (key := folded(term))}
        self._longest: dict[str, int] = {}
        for key in self._types:
            self._longest[key[0]] = max(len(key), self._longest.get(key[0], 0))

    @property
    def name(self) -> str:
        return NAME

    def find(self, text: str) -> Iterator[Span]:
        if not self._types:
            return
        matches = list(_WORD.finditer(text))
        found = [match.group().casefold() for match in matches]
        for at, word in enumerate(found):
            for length in range(min(self._longest.get(word, 0), len(found) - at), 0, -1):
                kind = self._types.get(tuple(found[at : at + length]))
                if kind is not None:
                    yield Span(matches[at].start(), matches[at + length - 1].end(), kind, NAME)
                    break


def folded(term: str) -> Words:
    """A term's words in the form in which they are compared."""
    return tuple(word.casefold() for word in _WORD.findall(read(term).text))
