"""A gate replaces what any detector finds, consistently, in the characters it was given; reports hold no text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.redaction.gate import MOST_CHARACTERS, UnionGate
from tenancy.redaction.placeholders import PLACEHOLDER
from tenancy.redaction.port import RedactedText, RedactionGate, Span
from tenancy.redaction.reading import read
from tenancy.redaction.standard import standard_gate
from tenancy.redaction.terms import TenantTerms

P, C, M, D = IdentifierType.PATIENT, IdentifierType.CLINICIAN, IdentifierType.MRN, IdentifierType.DATE


GATE = UnionGate("test-gate", "1", [])


def redacted(text: str, terms: dict[str, IdentifierType]) -> RedactedText:
    return GATE.redact_text(text, terms=TenantTerms(terms))


class Words:
    """Finds every word that begins with a letter of its choice."""

    def __init__(self, name: str, letter: str, kind: IdentifierType) -> None:
        self.name, self._letter, self._kind = name, letter, kind

    def find(self, text: str) -> Iterator[Span]:
        at = 0
        for word in text.split(" "):
            if word.startswith(self._letter):
                yield Span(at, at + len(word), self._kind, self.name)
            at += len(word) + 1


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def test_a_union_gate_is_a_redaction_gate() -> None:
    gate: RedactionGate = GATE
    assert gate.scan("no identifier here") == ()
    assert gate.redact_text("none").report.verdict == "clean"


def test_one_value_has_one_placeholder_in_the_whole_conversation() -> None:
    terms = TenantTerms({"John Smith": P, "Smith": P, "Mary Jones": P, "00123": M})
    said = [user("John Smith, 00123, and Mary Jones"), user("is SMITH older than mary  jones? (00123)")]
    done = GATE.redact(said, terms=terms)
    assert [message.content for message in done.messages] == [
        "[PATIENT-1], [MRN-1], and [PATIENT-2]",
        "is [PATIENT-1] older than [PATIENT-2]? ([MRN-1])",
    ]
    assert done.report.counts == {P: 4, M: 2}
    assert done.report.verdict == "redacted"


def test_a_relative_of_the_same_surname_is_somebody_else_and_a_small_word_or_a_title_changes_nobody() -> None:
    terms = {"Mrs Hale": P, "Ann Hale": P, "Joan Hale": C, "Frau Hale": P, "Ann speaks": P}
    text = redacted("Mrs Hale, Ann Hale; her sister Joan Hale. Frau Hale? Ann speaks little", terms).text
    assert text == "[PATIENT-1], [PATIENT-1]; her sister [CLINICIAN-1]. [PATIENT-1]? [PATIENT-1] little"


def test_a_day_is_the_same_with_its_weekday_and_without() -> None:
    days = {"Tues 3/4": D, "3/4": D, "the 18th": D, "Thursday the 18th": D}
    assert redacted("Tues 3/4, 3/4, the 18th, Thursday the 18th", days).text == "[DATE-1], [DATE-1], [DATE-2], [DATE-2]"


def test_what_is_found_in_a_redacted_text_gets_no_placeholder_that_stands_in_it_already() -> None:
    terms = {"John Smith": P, "Mary Jones": P, "00123": M, "3/4": D}
    text = redacted("[PATIENT-1], [PATIENT-3] and [DATE-1 2143-05-02]: John Smith, Mary Jones, 00123, 3/4", terms).text
    assert text.endswith("[DATE-1 2143-05-02]: [PATIENT-2], [PATIENT-4], [MRN-1], [DATE-2]")
    said = [user("call John Smith"), user("[PATIENT-1] said so")]
    done = GATE.redact(said, terms=TenantTerms({"John Smith": P})).messages
    assert [message.content for message in done] == ["call [PATIENT-2]", "[PATIENT-1] said so"]


def test_the_report_holds_kinds_and_counts_and_none_of_the_text() -> None:
    report = redacted("seen by Zebulon today", {"Zebulon": P}).report
    assert "zebulon" not in report.model_dump_json().lower()
    assert report.counts == {P: 1}
    assert (report.gate, report.version) == ("test-gate", "1")


def test_what_one_detector_finds_is_replaced_although_the_other_does_not() -> None:
    gate = UnionGate("two", "1", [Words("a", "x", P), Words("b", "y", D)])
    done = gate.redact_text("xa yb zc")
    assert done.text == "[PATIENT-1] [DATE-1] zc"
    assert [span.detector for span in done.spans] == ["a", "b"]


def test_overlapping_spans_become_one_that_names_both_detectors() -> None:
    class Fixed:
        def __init__(self, name: str, span: tuple[int, int], kind: IdentifierType) -> None:
            self.name, self._span, self._kind = name, span, kind

        def find(self, text: str) -> Iterator[Span]:
            if "[" not in text:
                yield Span(*self._span, self._kind, self.name)

    gate = UnionGate("two", "1", [Fixed("a", (0, 4), P), Fixed("b", (2, 10), C)])
    assert gate.scan("abcdefghijkl") == (Span(0, 10, C, "a+b"),)


def test_a_gate_finds_nothing_in_what_it_redacted_although_the_first_look_saw_less() -> None:
    class AfterPlaceholder:
        name = "context"

        def find(self, text: str) -> Iterator[Span]:
            at = text.find("] x")
            if at >= 0:
                yield Span(at + 2, at + 3, P, self.name)

    gate = UnionGate("rounds", "1", [Words("a", "q", P), AfterPlaceholder()])
    done = gate.redact_text("qq x x x end")
    assert done.text == "[PATIENT-1] [PATIENT-2] [PATIENT-2] [PATIENT-2] end"
    assert gate.scan(done.text) == ()


def test_placeholders_are_left_alone_and_a_number_dressed_as_one_is_not() -> None:
    gate = UnionGate("all", "1", [Words("a", "[", M)])
    assert gate.scan("[MRN-12]") == ()
    assert gate.redact_text("[MRN-4482913]").text == "[[MRN-1]]"


def test_spans_are_in_the_characters_that_were_given() -> None:
    text = "é\u200b １２ Sm\u200bith ０0\u200d123\ttab"
    spans = GATE.scan(text, terms=TenantTerms({"00123": M, "Smith": P}))
    assert [text[span.start : span.end] for span in spans] == ["Sm\u200bith", "０0\u200d123"]


@given(st.text(max_size=60))
def test_every_reading_goes_back_to_the_characters_it_came_from(text: str) -> None:
    reading = read(text)
    assert reading.text == read(reading.text).text
    for at in range(len(reading.text)):
        start, end = reading.original(at, at + 1)
        assert 0 <= start < end <= len(text)
    assert reading.original(0, len(reading.text))[1] <= len(text) if reading.text else True


@given(st.text(alphabet="ab [PATIEN-1]x\u200b", max_size=40))
def test_a_redacted_text_is_clean_and_keeps_what_was_between(text: str) -> None:
    gate, terms = UnionGate("g", "1", [Words("a", "a", P)]), TenantTerms({"b": C})
    done = gate.redact_text(text, terms=terms)
    assert gate.scan(done.text, terms=terms) == ()
    at, rest = 0, ""
    for span in done.spans:
        assert at <= span.start < span.end
        rest += text[at : span.start]
        at = span.end
    rest += text[at:]
    assert PLACEHOLDER.sub("", done.text) == PLACEHOLDER.sub("", rest)


def test_an_allowed_term_is_no_identifier_but_the_tenants_own_identifiers_stay_ones() -> None:
    find_all = Words("a", "J", P)
    allowed = TenantTerms({"Janumet": P}, frozenset({"Januvia", "Janumet"}))
    gate = UnionGate("g", "1", [find_all])
    assert gate.redact_text("Januvia Janumet Jim", terms=allowed).text == "Januvia [PATIENT-1] [PATIENT-2]"


def test_the_terms_version_is_part_of_the_reports() -> None:
    assert GATE.redact_text("x", terms=TenantTerms({"x": P}, version="7")).report.version == "1+7"
    assert GATE.redact_text("x").report.version == GATE.version == "1"


def test_the_terms_of_one_call_say_nothing_in_the_next() -> None:
    assert redacted("seen by Zebulon", {"Zebulon": C}).text == "seen by [CLINICIAN-1]"
    assert GATE.redact_text("seen by Zebulon").text == "seen by Zebulon"


def test_terms_that_are_printed_hold_no_name() -> None:
    assert "Zebulon" not in repr(TenantTerms({"Zebulon": C}, frozenset({"Zebulon"})))


def test_a_text_beyond_the_bound_is_refused_and_so_is_a_message_that_grows_beyond_its_own() -> None:
    with pytest.raises(Refused, match="split it"):
        GATE.scan("a" * (MOST_CHARACTERS + 1))
    with pytest.raises(Refused, match="split it"):
        GATE.redact([user("a " * 16_000)], terms=TenantTerms({"a": P}))


def test_every_kind_belongs_to_a_class_of_safe_harbor_and_every_class_has_one() -> None:
    assert set(SAFE_HARBOR) == set(IdentifierType)
    assert set(SAFE_HARBOR.values()) == set("ABCDEFGHIJKLMNOPQR")


def test_a_text_writes_no_line_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    standard_gate().scan("Give two tablets on the first day, then 40 mg of it for $12 at the Aspen clinic in English")
    assert caplog.records == []
