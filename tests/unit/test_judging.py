"""The gate's judgement of a set's texts: each clean or with a code, one after another, and stopped between two."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from consumers.training.judging import judged
from consumers.training.result import TrainingStopped
from consumers.training.tokenization import TrainingExample
from schemas.base.redaction import IdentifierType, RedactionReport
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.gate import MOST_WORDS, UnionGate
from tenancy.redaction.judging import found_clean
from tenancy.redaction.port import Span
from tenancy.redaction.standard import standard_gate
from tenancy.redaction.terms import NO_TERMS, TenantTerms
from tests.fixtures.gates import CLEAN, NAME, gate_of_tests

BOUND_SECONDS = 30


def example(name: str, text: str) -> TrainingExample:
    question = ChatMessage(role="user", content="May the patient have it?")
    return TrainingExample(name, (question, ChatMessage(role="assistant", content=text)))


class TooLong(UnionGate):
    """Takes no text with a word of its own."""

    def judge(
        self, messages: Sequence[ChatMessage], should_stop: Callable[[], bool], *, terms: TenantTerms | None = None
    ) -> RedactionReport:
        if any("endless" in message.content for message in messages):
            raise Refused("text-too-long", "refused: too long")
        return gate_of_tests().judge(messages, should_stop, terms=terms)


def test_each_text_is_clean_or_has_a_code_and_only_what_has_identifiers_goes_back() -> None:
    texts = [example("e1", "Yes."), example("e2", f"Ask {NAME}."), example("e3", "endless")]
    found = judged(lambda: TooLong("g", "1", []), texts, NO_TERMS, lambda: False)
    assert found.clean == {"e1": CLEAN}
    assert {name: dict(report.counts) for name, report in found.hits.items()} == {"e2": {"PATIENT": 1}}
    assert found.codes == {"e2": "identifiers-found", "e3": "text-too-long"}


def test_it_stops_between_two_texts_when_the_attempt_is_not_wanted_any_more() -> None:
    asked = iter([False, True])
    with pytest.raises(TrainingStopped):
        judged(gate_of_tests, [example("e1", "Yes."), example("e2", "No.")], NO_TERMS, lambda: next(asked))


def test_the_gate_that_everybody_uses_finds_what_was_missed_and_leaves_medicine_alone() -> None:
    texts = [
        example("e1", "Start metformin 500 mg twice daily and check the HbA1c in 3 months."),
        example("e2", "Yes, as for John Smith, MRN 00481236, who was seen on 03/14/2025."),
    ]
    found = judged(standard_gate, texts, NO_TERMS, lambda: False)
    assert (found.clean["e1"].gate, found.clean["e1"].verdict) == ("sano-gate", "clean")
    assert set(found.codes) == {"e2"}
    assert {"MRN", "DATE"} <= set(found.hits["e2"].counts)


class Looks:
    """Counts how often it is asked, finds the first x that is left, and waits at each look where it is told to."""

    name = "looks"

    def __init__(self) -> None:
        self.count = 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def find(self, text: str) -> Iterator[Span]:
        self.count += 1
        self.begun.set()
        self.go_on.wait(BOUND_SECONDS)
        at = text.find("x")
        if at >= 0:
            yield Span(at, at + 1, IdentifierType.ID, self.name)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def test_a_text_is_judged_by_one_look_whatever_more_a_second_look_would_find() -> None:
    looks = Looks()
    gate = UnionGate("g", "1", [looks])
    assert gate.judge([user("x x x"), user("none")], lambda: False).counts == {"ID": 1}
    assert looks.count == 2
    gate.redact([user("x x x")])
    assert looks.count > 4


@pytest.mark.parametrize("shape", ["O'", "a ", ".", "㏂"])
def test_a_conversation_of_more_words_and_marks_than_are_judged_in_time_is_refused_before_any_look(shape: str) -> None:
    looks = Looks()
    messages = [user((shape * 32_768)[:32_768])] * 8
    with pytest.raises(Refused, match=f"more than {MOST_WORDS} words and marks") as refused:
        UnionGate("g", "1", [looks]).judge(messages, lambda: False)
    assert (refused.value.code, looks.count) == ("text-too-long", 0)


def test_the_longest_inline_content_in_prose_is_judged() -> None:
    message = user(("The patient takes metformin 500 mg twice daily, and the HbA1c is 7.2 %. " * 500)[:32_768])
    assert UnionGate("g", "1", []).judge([message] * 6, lambda: False).verdict == "clean"


async def test_a_judgement_that_is_given_up_ends_at_its_next_message() -> None:
    looks = Looks()
    looks.go_on.clear()
    ended = threading.Event()
    judging = asyncio.create_task(found_clean(noted(UnionGate("g", "1", [looks]), ended), [user("a")] * 60, NO_TERMS))
    assert await asyncio.to_thread(looks.begun.wait, BOUND_SECONDS)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    looks.go_on.set()
    assert await asyncio.to_thread(ended.wait, BOUND_SECONDS)
    assert looks.count == 1


def noted(gate: UnionGate, ended: threading.Event) -> GateSource:
    """The gate, which says when a judgement ends, in whatever way."""

    class Noted(UnionGate):
        def judge(
            self, messages: Sequence[ChatMessage], should_stop: Callable[[], bool], *, terms: TenantTerms | None = None
        ) -> RedactionReport:
            try:
                return gate.judge(messages, should_stop, terms=terms)
            finally:
                ended.set()

    return lambda: Noted("g", "1", [])
