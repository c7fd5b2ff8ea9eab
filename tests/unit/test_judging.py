"""The gate's judgement of a set's texts: each clean or with a code, one after another, and stopped between two."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.training.judging import judged
from consumers.training.result import TrainingStopped
from consumers.training.tokenization import TrainingExample
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.port import RedactedMessages
from tenancy.redaction.shifted_dates import DateShift
from tenancy.redaction.standard import standard_gate
from tenancy.redaction.terms import NO_TERMS, TenantTerms
from tests.fixtures.gates import CLEAN, NAME, gate_of_tests


def example(name: str, text: str) -> TrainingExample:
    question = ChatMessage(role="user", content="May the patient have it?")
    return TrainingExample(name, (question, ChatMessage(role="assistant", content=text)))


class TooLong(UnionGate):
    """Takes no text with a word of its own."""

    def redact(
        self, messages: Sequence[ChatMessage], *, terms: TenantTerms | None = None, dates: DateShift | None = None
    ) -> RedactedMessages:
        if any("endless" in message.content for message in messages):
            raise Refused("text-too-long", "refused: too long")
        return gate_of_tests().redact(messages, terms=terms, dates=dates)


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
