"""Facts that change, on the real embedder: what a question is asked with and cites before and after an update."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tenancy.embedding.opening import open_embedder
from tenancy.embedding.settings import EmbedderSettings
from tests.answers.asking import Retrieved, retrieved
from tests.answers.hospital import QUESTIONS, When, holds
from tests.answers.style import examples

WHENS: tuple[When, ...] = ("before", "after")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[When, list[Retrieved]]:
    async def asked() -> Mapping[When, list[Retrieved]]:
        async with open_embedder(EmbedderSettings(), tmp_path_factory.mktemp("models")) as embedder:
            assert embedder is not None, "the model's package is not installed"
            return await retrieved(embedder)

    return asyncio.run(asked())


@pytest.mark.parametrize("when", WHENS)
def test_every_question_is_asked_with_the_passage_that_counts_then(
    found: Mapping[When, list[Retrieved]], when: When
) -> None:
    assert [one.asked.question for one in found[when] if not one.right] == [], "recall at 5 is 1 on this set"
    for one in found[when]:
        assert holds(one.prompt, one.asked.fact(when))
        assert not holds(one.asked.question, one.asked.fact(when)), "without retrieval nobody could know it"
    first = sum(one.right[0] == 1 for one in found[when])
    assert first >= 28, "of 33; 32 before and 33 after when this was written"


@pytest.mark.parametrize("when", WHENS)
def test_every_citation_is_of_the_version_that_counts_and_has_its_passages_number(
    found: Mapping[When, list[Retrieved]], when: When
) -> None:
    assert all(one.citations and one.is_cited_right for one in found[when])


def test_no_prompt_holds_what_was_replaced(found: Mapping[When, list[Retrieved]]) -> None:
    """Of any question: what stands in another passage would do harm too. A bare number may be another's."""
    replaced = {one.before for one in QUESTIONS if one.changed and not one.before.isdigit()}
    numbers = {f"extension {one.before}" for one in QUESTIONS if one.changed} | {"bleep 611", "bleep 208"}
    for one in found["after"]:
        assert not [fact for fact in replaced | numbers if holds(one.prompt, fact)]


def test_no_example_that_an_adapter_is_trained_on_holds_a_fact_that_is_asked_for() -> None:
    facts = {fact for one in QUESTIONS for fact in (one.before, one.after)}
    for example in examples():
        said = "\n".join(message.content for message in example.messages)
        assert not [fact for fact in facts if holds(said, fact)]
        assert not [one.question for one in QUESTIONS if one.question in said]
