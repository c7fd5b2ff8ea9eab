"""Finds a tenant's own terms: staff names, wards, local places; knows what a tenant says is no identifier.

A gate's other detectors know none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.base.redaction import IdentifierType
from tenancy.redaction.port import Span
from tenancy.redaction.reading import read

NAME = "tenant-terms"
_WORD = re.compile(r"[^\W_]+")

Words = tuple[str, ...]


@dataclass(frozen=True)
class TenantTerms:
    """A tenant's own words, an argument of each call of a gate. Both kinds match whole words, in any case.

    ``identifiers``: staff, wards, local places: replaced wherever they stand, whatever ``allowed`` says of them.
    ``allowed``: what is never an identifier here, such as the product names of the tenant's own formulary. It applies
    to a span that is made of allowed terms alone. ``version``: lower-case letters and digits that change with the
    terms; it becomes part of the report's version. No hash of them: a name is found from its hash in no time.

    Keep the value for as long as the terms hold: what is worked out of them is kept with it.
    """

    identifiers: Mapping[str, IdentifierType] = field(default_factory=dict, repr=False)
    allowed: frozenset[str] = field(default=frozenset(), repr=False)
    version: str = ""
    detector: TermDetector = field(init=False, repr=False, compare=False)
    """Finds the identifiers."""
    _allowed: tuple[frozenset[Words], frozenset[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        allowed = frozenset(map(folded, self.allowed))
        object.__setattr__(self, "detector", TermDetector(self.identifiers))
        object.__setattr__(self, "_allowed", (allowed, frozenset(word for term in allowed for word in term)))

    def allows(self, value: str) -> bool:
        """Whether the value is an allowed term, or is made of allowed terms' words."""
        if not self.allowed:
            return False
        whole = folded(value)
        terms, words = self._allowed
        return bool(whole) and (whole in terms or set(whole) <= words)


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


def is_telling(term: str) -> bool:
    """Whether it may be a term: one letter or digit stands in nearly every text, and would withdraw them all."""
    return sum(map(len, folded(term))) >= 2


NO_TERMS = TenantTerms()
