"""Gives one placeholder to each value of a conversation: ``[PATIENT-1]``, and the same again wherever it comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import date

from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction.weekdays import without_weekday

PLACEHOLDER = re.compile(
    rf"\[(?:(?:{'|'.join(IdentifierType)})-[1-9][0-9]{{0,2}}"
    r"|DATE-[1-9][0-9]{0,2} 21[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]))\]"
)
"""What was redacted before and is no identifier. At most three digits: ``[MRN-4482913]`` is somebody's number. A
shifted date is one of the years 2100 to 2199: no other can stand in a placeholder."""

_TITLES = frozenset(
    {"dr", "doctor", "mr", "mrs", "ms", "miss", "prof", "nurse", "pt", "patient", "md", "rn", "np", "jr", "sr", "sra"}
    | {"frau", "herr", "monsieur", "madame", "mme", "señor", "señora", "signor", "signora"}
)
_NAMES = "A"


@dataclass
class Placeholders:
    """The placeholders of one conversation. Lives as long as the call: it holds what was removed.

    ``shifted``: the new day of each date that has one. ``taken``: names such as ``PATIENT-1`` that stand in the texts
    already, for somebody whom nobody can tell any more.
    """

    shifted: Mapping[str, date] = field(default_factory=dict)
    taken: Set[str] = frozenset()
    _given: dict[tuple[str, str], str] = field(default_factory=dict)
    _people: dict[str, frozenset[str]] = field(default_factory=dict)
    _counts: dict[IdentifierType, int] = field(default_factory=dict)

    def of(self, value: str, kind: IdentifierType) -> str:
        """The placeholder of this value. A part of a name that came before is that person."""
        if SAFE_HARBOR[kind] == _NAMES and kind is not IdentifierType.EMPLOYER:
            return self._person(value, kind)
        day = self.shifted.get(value) if kind is IdentifierType.DATE else None
        if day is not None:
            if (kind, day.isoformat()) not in self._given:
                self._given[kind, day.isoformat()] = f"{self._next(kind)[:-1]} {day.isoformat()}]"
            return self._given[kind, day.isoformat()]
        said = without_weekday(value) if kind is IdentifierType.DATE else value
        key = (SAFE_HARBOR[kind], re.sub(r"[\W_]+", "", said).casefold())
        if key not in self._given:
            self._given[key] = self._next(kind)
        return self._given[key]

    def _person(self, value: str, kind: IdentifierType) -> str:
        said = _name_words(value)
        for placeholder, known in self._people.items():
            if said <= known or known <= said:
                self._people[placeholder] = known | said
                return placeholder
        placeholder = self._next(kind)
        self._people[placeholder] = said
        return placeholder

    def _next(self, kind: IdentifierType) -> str:
        number = self._counts.get(kind, 0) + 1
        while f"{kind}-{number}" in self.taken:
            number += 1
        self._counts[kind] = number
        return f"[{kind}-{number}]"


def placeholders_in(text: str) -> Iterator[str]:
    """Their names, such as ``PATIENT-1``."""
    return (match.group()[1:-1].partition(" ")[0] for match in PLACEHOLDER.finditer(text))


def _name_words(value: str) -> frozenset[str]:
    """What names somebody in ``value``: no title, no letter beside a word, no small word beside a capital one."""
    found = [word for word in re.findall(r"[^\W\d_]+", value) if word.casefold() not in _TITLES]
    capital = [word for word in found if word[0].isupper()] or found
    return frozenset(word.casefold() for word in capital if len(word) > 1) or frozenset(map(str.casefold, capital))
