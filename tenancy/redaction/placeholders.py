"""Gives one placeholder to each value of a conversation: ``[PATIENT-1]``, and the same again wherever it comes back."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import date
from itertools import chain

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
class _People:
    """Finds who is named by all or some of a person's words, without a look at everybody for each name."""

    _known: list[set[str]] = field(default_factory=list)
    """The words of each person, in the order in which they came."""
    _by_word: dict[str, set[int]] = field(default_factory=dict)
    """All who have a word."""
    _filed: dict[str, list[int]] = field(default_factory=dict)
    """The same people, each under the one word that the fewest had."""

    def find(self, said: frozenset[str]) -> int | None:
        """The first person who has all these words, or of whom they say every word; None for somebody new."""
        everybody: Collection[int] = range(len(self._known))
        having = min((self._by_word.get(word, ()) for word in said), key=len, default=everybody)
        told = (number for word in (*said, "") for number in self._filed.get(word, ()))
        return min(
            chain(
                (number for number in having if said <= self._known[number]),
                (number for number in told if self._known[number] <= said),
            ),
            default=None,
        )

    def note(self, number: int, said: frozenset[str]) -> None:
        """Add words to a person. ``number`` is one that was found, or that of the next one."""
        if number == len(self._known):
            self._known.append(set())
            rarest = min(said, key=lambda word: (len(self._filed.get(word, ())), word), default="")
            self._filed.setdefault(rarest, []).append(number)
        self._known[number] |= said
        for word in said:
            self._by_word.setdefault(word, set()).add(number)


@dataclass
class Placeholders:
    """The placeholders of one conversation. Lives as long as the call: it holds what was removed.

    ``shifted``: the new day of each date that has one. ``taken``: names such as ``PATIENT-1`` that stand in the texts
    already, for somebody whom nobody can tell any more.
    """

    shifted: Mapping[str, date] = field(default_factory=dict)
    taken: Set[str] = frozenset()
    _given: dict[tuple[str, str], str] = field(default_factory=dict)
    _people: _People = field(default_factory=_People)
    _names: list[str] = field(default_factory=list)
    """The placeholder of each of these people."""
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
        number = self._people.find(said)
        if number is None:
            number = len(self._names)
            self._names.append(self._next(kind))
        self._people.note(number, said)
        return self._names[number]

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
