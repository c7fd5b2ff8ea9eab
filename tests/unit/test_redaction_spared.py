"""Phrases of medicine that are made of names are spared; the same names elsewhere are not."""

from __future__ import annotations

import pytest

from schemas.base.redaction import IdentifierType
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.port import Span
from tenancy.redaction.spared import Sparing


class Capitals:
    """Finds each capitalised word."""

    name = "capitals"

    def find(self, text: str) -> list[Span]:
        at, found = 0, []
        for word in text.split(" "):
            if word[:1].isupper():
                found.append(Span(at, at + len(word), IdentifierType.PERSON, self.name))
            at += len(word) + 1
        return found


GATE = UnionGate("capitals", "1", [Sparing(Capitals())])


@pytest.mark.parametrize(
    "text", ["on St. John's wort daily", "Bence Jones protein", "Ann Arbor stage II", "Brown-Sequard at T6"]
)
def test_a_phrase_of_medicine_is_spared(text: str) -> None:
    assert GATE.redact_text(text.replace("II", "2").replace("T6", "t6")).report.verdict == "clean"


@pytest.mark.parametrize("text", ["by Formulary P-01 it is", "in Table 3b of it", "Guideline 12, first line"])
def test_a_place_in_a_document_is_spared(text: str) -> None:
    assert GATE.redact_text(text).report.verdict == "clean"


@pytest.mark.parametrize("text", ["by Formulary P-01-7731 it is", "on Protocol Jones"])
def test_a_longer_code_or_a_name_is_none(text: str) -> None:
    assert GATE.redact_text(text).report.verdict != "clean"


def test_the_words_of_a_phrase_are_found_where_they_are_not_that_phrase() -> None:
    assert GATE.redact_text("seen by Jones in Ann").text == "seen by [PERSON-1] in [PERSON-2]"
