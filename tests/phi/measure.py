"""Measures a detector on generated texts: identifiers found, by class of Safe Harbor, and clean texts touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from schemas.base.redaction import SAFE_HARBOR
from tests.phi.texts import Sample

Scan = Callable[[str], Iterable[tuple[int, int]]]


@dataclass
class Recall:
    """Identifiers by class: how many there were, how many were wholly covered. ``missed`` for a look at them."""

    there: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def overall(self) -> float:
        return sum(self.found.values()) / sum(self.there.values())

    def by_class(self) -> dict[str, float]:
        return {name: self.found[name] / self.there[name] for name in sorted(self.there)}


def recall(scan: Scan, samples: Iterable[Sample]) -> Recall:
    """An identifier counts as found when each of its letters and digits is in a span."""
    measured = Recall()
    for sample in samples:
        covered = {at for start, end in scan(sample.text) for at in range(start, end)}
        for start, end, kind in sample.identifiers:
            name = SAFE_HARBOR[kind]
            measured.there[name] += 1
            if all(at in covered for at in range(start, end) if sample.text[at].isalnum()):
                measured.found[name] += 1
            else:
                measured.missed.append((kind, sample.text[start:end], sample.text))
    return measured


def touched(scan: Scan, samples: Iterable[Sample]) -> list[tuple[str, list[str]]]:
    """The clean texts in which something was found, and what."""
    found = []
    for sample in samples:
        spans = list(scan(sample.text))
        if spans:
            found.append((sample.text, [sample.text[start:end] for start, end in spans]))
    return found
