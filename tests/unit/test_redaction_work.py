"""What the gate does for a text grows as its length does, whatever whoever published it wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.placeholders import Placeholders
from tenancy.redaction.port import Span
from tenancy.redaction.rules import RuleDetector
from tenancy.redaction.spared import Sparing
from tenancy.redaction.standard import standard_gate
from tests.unit.growth import MOST, growth


class EveryX:
    """Finds each ``x``."""

    name = "every-x"

    def find(self, text: str) -> Iterator[Span]:
        yield from (Span(at, at + 1, T.ID, self.name) for at, letter in enumerate(text) if letter == "x")


@pytest.mark.parametrize("shape", ["-", "a-", "1-", "_-", "--1"])
def test_the_rules_read_runs_of_hyphens_in_time_that_grows_as_they_do(shape: str) -> None:
    detector = RuleDetector()
    assert growth(lambda count: list(detector.find(shape * count)), 1_000) < MOST


def test_spans_beside_many_placeholders_are_kept_apart_in_time_that_grows_as_they_do() -> None:
    gate = UnionGate("test", "1", [EveryX()])
    assert growth(lambda count: gate.scan("[ID-1] x " * count), 500) < MOST


def test_spans_beside_many_spared_phrases_are_kept_in_time_that_grows_as_they_do() -> None:
    detector = Sparing(EveryX())
    assert growth(lambda count: list(detector.find("Bence Jones x " * count)), 250) < MOST


def test_people_of_one_surname_get_placeholders_in_time_that_grows_as_they_do() -> None:
    def name(count: int) -> None:
        placeholders = Placeholders()
        for number in range(count):
            letters = f"{number:06}".translate(str.maketrans("0123456789", "abcdefghij"))
            placeholders.of(f"Dr {letters.title()} Smith", T.CLINICIAN)

    assert growth(name, 1_000) < MOST


def test_no_context_words_are_searched_for_what_presidio_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without lemmas it would find none, in time that grows with the square of the results."""
    gate = standard_gate()
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer

    searched: list[str] = []

    def noted(*_: object, word: str, **__: object) -> list[str]:
        searched.append(word)
        return []

    monkeypatch.setattr(LemmaContextAwareEnhancer, "_extract_surrounding_words", noted)
    found = gate.scan("Call 617-555-1234 or write to ann@example.com")
    assert all("presidio" in span.detector for span in found)
    assert len(found) == 2
    assert searched == []
