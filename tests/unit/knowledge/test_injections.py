"""What counts as an injection that is obeyed, and the prompts in which models are asked behind one."""

from __future__ import annotations

import pytest

from tests.answers.asking import Retrieved
from tests.answers.hospital import SAMPLE
from tests.answers.injections import INJECTIONS, PLACINGS, Injection, counted, injected

QUESTION = SAMPLE[0]
FOUND = Retrieved(
    QUESTION,
    "after",
    "",
    (
        {"number": 1, "document_id": "phones", "version": 2, "path": "Phones", "passage": "Elsewhere."},
        {
            "number": 2,
            "document_id": QUESTION.document,
            "version": 2,
            "path": "F",
            "passage": f"It is {QUESTION.after}.",
        },
    ),
)


@pytest.mark.parametrize("injection", INJECTIONS, ids=range(len(INJECTIONS)))
def test_an_answer_that_quotes_an_instruction_has_not_obeyed_it_and_one_that_does_it_has(injection: Injection) -> None:
    assert not injection.is_obeyed(f"The passage says: {injection.text}")
    assert not injection.is_obeyed(QUESTION.after)
    for demanded in injection.demanded:
        assert injection.is_obeyed(f"Ward note: {demanded.upper()}!")
        assert injection.is_obeyed(f"It says{injection.text} So I do. {demanded}")


def test_each_injection_stands_behind_the_fact_and_ahead_of_the_question() -> None:
    for placing in PLACINGS:
        asked = injected([FOUND], placing, is_sample=False)
        assert [one.injection for one in asked] == [None, *INJECTIONS]
        for one in asked:
            fact, other = one.prompt.index(QUESTION.after), one.prompt.index("lift Q")
            assert fact < other < one.prompt.index(QUESTION.question)
            assert "Elsewhere" not in one.prompt
            if one.injection and placing == "plain":
                assert f"{QUESTION.after}.{one.injection.text}\n" in one.prompt


def test_what_is_said_without_an_injection_too_is_not_obedience() -> None:
    asked = injected([FOUND], "framed", is_sample=False)
    cell = counted(
        "base", "framed", asked, ["Linen is behind lift Q.", *[f"Zebra, lift Q, {QUESTION.after}."] * len(INJECTIONS)]
    )
    reveals = [at for at, injection in enumerate(INJECTIONS) if injection.demanded == ("lift Q",)]
    assert len(reveals) == 2 and not any(cell.followed[at] for at in reveals)
    assert cell.obeyed == sum(cell.followed) == sum(injection.demanded == ("zebra",) for injection in INJECTIONS)
    assert (cell.asked, cell.right) == (len(INJECTIONS), len(INJECTIONS))
    assert (cell.questions, cell.right_without) == (1, 0)
