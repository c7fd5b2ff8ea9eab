"""Copies of examples that have passages in the prompt: what they show, and what they never do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from consumers.training.beside_passages import FRAME_CHARACTERS, UNRELATED, beside_passages
from consumers.training.tokenization import TokenizedExample, TrainingExample
from schemas.bus.content import ChatMessage
from schemas.tenant.hyperparameters import Hyperparameters
from tenancy.knowledge.frame import BEGIN, END, INTRODUCTION, QUESTION
from tests.unit.tiny_training import THREE_STEPS, build_tiny_base, load_tokenizer, tiny_examples, train_three_steps

ALL = Hyperparameters(passages_share=1.0)


def taught(count: int = 8) -> dict[str, TrainingExample]:
    return {
        f"ex-{number}": TrainingExample(
            f"ex-{number}",
            (
                ChatMessage(role="system", content="You answer for the ward."),
                ChatMessage(role="user", content=f"What is rule {number}?"),
                ChatMessage(role="assistant", content=f"Ward note: rule {number} is kept by all of us."),
            ),
        )
        for number in range(count)
    }


def copies(
    examples: Mapping[str, TrainingExample], hyperparameters: Hyperparameters = ALL, characters: int = 10**6
) -> dict[str, TrainingExample]:
    """By id, those that have no more than so many characters, in which a stand-in of the tokenizer counts."""
    made: dict[str, TrainingExample] = {}

    def tokenized(copy: TrainingExample) -> TokenizedExample | None:
        if sum(len(message.content) for message in copy.messages) > characters:
            return None
        made[copy.example_id] = copy
        return TokenizedExample(copy.example_id, (1,), (1,), 0)

    names = [one.example_id for one in beside_passages(examples, hyperparameters, tokenized)]
    assert names == list(made)
    return made


def passages(copy: TrainingExample) -> list[str]:
    lines = copy.messages[-2].content.splitlines()
    return lines[lines.index(BEGIN) + 1 : lines.index(END)]


def test_a_copy_has_the_servers_frame_the_examples_question_and_its_answer() -> None:
    examples = taught()
    for name, copy in copies(examples).items():
        example = examples[name]
        question = copy.messages[-2].content
        assert question.startswith(INTRODUCTION)
        assert question.endswith(f"\n{QUESTION}\n{example.messages[-2].content}")
        assert copy.messages[0] == example.messages[0]
        assert copy.messages[-1] == example.messages[-1], "nothing is learnt but what a reviewer approved"


def test_a_passage_holds_what_the_answer_says_and_not_how_it_begins() -> None:
    for name, copy in copies(taught()).items():
        said = "is kept by all of us."
        own = [line for line in passages(copy) if f"What is rule {name[3:]}?" in line]
        assert len(own) == 1
        assert own[0].endswith(said)
        assert "Ward note: rule" not in copy.messages[-2].content


def test_passages_are_of_trained_examples_and_unrelated_ones_and_stand_in_any_order() -> None:
    known = [*(text for _, text in UNRELATED), "is kept by all of us."]
    places = set()
    for name, copy in copies(taught(24)).items():
        shown = passages(copy)
        assert all(any(line.endswith(text) for text in known) for line in shown)
        places.add(next(at for at, line in enumerate(shown) if f"What is rule {name[3:]}?" in line))
    assert len(places) > 2


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_the_share_says_how_many_have_a_copy_and_the_seed_which(share: float, count: int) -> None:
    asked = Hyperparameters(passages_share=share)
    found = copies(taught(), asked)
    assert len(found) == count
    assert found == copies(dict(reversed(taught().items())), asked), "whatever order they come in"
    if share == 0.5:
        assert any(found != copies(taught(), asked.evolve(seed=seed)) for seed in range(5))


def test_a_copy_that_is_too_long_loses_passages_and_then_is_left_out() -> None:
    longest = max(sum(len(message.content) for message in copy.messages) for copy in copies(taught()).values())
    fewer = copies(taught(), characters=longest - 1)
    assert set(fewer) == set(taught())
    assert copies(taught(), characters=len(INTRODUCTION)) == {}


def test_a_message_may_be_as_long_as_an_example_allows() -> None:
    example = taught(1)["ex-0"]
    question = ChatMessage(role="user", content="Why? " * 6_553)
    answer = ChatMessage(role="assistant", content="Because. " * 3_640)
    copy = copies({"ex-0": TrainingExample("ex-0", (question, answer))})["ex-0"]
    assert len(copy.messages[0].content) > 32_768
    assert len(copy.messages[0].content) < 32_768 + len(INTRODUCTION) + FRAME_CHARACTERS
    assert example.example_id in copies({"ex-0": example})


@pytest.mark.slow
def test_held_out_examples_stand_in_no_prompt_and_the_trained_ones_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import consumers.training.lora as lora

    given: list[set[str]] = []

    def seen(examples: Mapping[str, TrainingExample], *rest: object) -> list[TokenizedExample]:
        given.append(set(examples))
        return beside_passages(examples, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(lora, "beside_passages", seen)
    base = build_tiny_base(tmp_path / "base", load_tokenizer())
    whole = THREE_STEPS.evolve(max_steps=None, num_train_epochs=1)
    plain = train_three_steps(base, tmp_path / "plain", tiny_examples(), whole)
    shown = train_three_steps(base, tmp_path / "shown", tiny_examples(), whole.evolve(passages_share=1.0))
    assert shown.heldout_ids == plain.heldout_ids
    assert shown.heldout_ids
    assert given[-1] == set(shown.trained_ids) == set(plain.trained_ids)
    assert not given[-1] & set(shown.heldout_ids)
    assert shown.tokens > 2 * plain.tokens
    assert shown.weights_sha256 != plain.weights_sha256
