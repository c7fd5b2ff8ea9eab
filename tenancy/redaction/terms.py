"""Finds a tenant's own terms: staff names, wards, local places. The rest of a gate's detectors know none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from schemas.base.redaction import IdentifierType
from tenancy.redaction.port import Span
from tenancy.redaction.reading import read

NAME = "tenant-terms"


class TermDetector:
    """Matches terms as whole words in any case; blanks in a term match any blanks."""

    def __init__(self, terms: Mapping[str, IdentifierType]) -> None:
        self._types = {key: kind for term, kind in terms.items() if (key := folded(term))}
        longest_first = sorted(self._types, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_whole_word, longest_first)), re.IGNORECASE) if self._types else None

    @property
    def name(self) -> str:
        return NAME

    def find(self, text: str) -> Iterator[Span]:
        if self._pattern is None:
            return
        for match in self._pattern.finditer(text):
            kind = self._types.get(folded(match.group()))
            if kind is not None:
                yield Span(match.start(), match.end(), kind, NAME)


def folded(term: str) -> str:
    """A term in the form in which it is compared."""
    return " ".join(read(term).text.split()).casefold()


def _whole_word(term: str) -> str:
    words = r"\s+".join(map(re.escape, term.split()))
    before = r"(?<![^\W_])" if term[:1].isalnum() else ""
    after = r"(?![^\W_])" if term[-1:].isalnum() else ""
    return f"{before}{words}{after}"
