"""What a request will take is guessed from any JSON, and cheaply from a long one."""

from __future__ import annotations

from typing import Any

import pytest

from inference.api.sizes import prompt_tokens, sequences
from inference.engine.field_checks import MAX_CHOICES

MOST = 2048


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([{"role": "user", "content": "a" * 400}], 102),
        ([{"role": "user", "content": [{"type": "text", "text": "a" * 400}]}], 103),
        ("a" * 40_000, MOST),
        (None, 1),
        ([], 1),
        ([[[[{}]]]], 1),
        (7.5, 1),
    ],
)
def test_a_chat_is_about_a_quarter_of_its_characters(messages: Any, tokens: int) -> None:
    assert prompt_tokens("chat", {"messages": messages, "prompt": "b" * 400}, MOST) == tokens


def test_a_prompt_of_token_ids_is_about_so_many() -> None:
    assert prompt_tokens("completion", {"prompt": [1] * 100}, MOST) == pytest.approx(125, abs=1)


@pytest.mark.parametrize("part", ["", 1, [], {}, None])
def test_no_more_of_a_long_body_is_looked_at_than_makes_a_longest_prompt(part: Any) -> None:
    class Part(dict[str, Any]):
        looked_at = 0

        def values(self) -> Any:
            Part.looked_at += 1
            return [part]

    prompt = [Part() for _ in range(10 * 4 * MOST)]
    assert prompt_tokens("completion", {"prompt": prompt}, MOST) == MOST
    assert Part.looked_at <= 4 * MOST


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": 10**9}, MAX_CHOICES),
        ({"n": -1}, 1),
        ({"n": "3"}, 1),
        ({"prompt": ["one", "two"]}, 2),
        ({"prompt": [[1], [2], [3]], "n": 2}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": []}, 1),
        ({"prompt": {"a": 1}}, 1),
    ],
)
def test_sequences_are_choices_times_prompts_up_to_what_is_allowed(body: dict[str, Any], expected: int) -> None:
    assert sequences("completion", body) == expected
    if "prompt" in body:
        assert sequences("chat", {**body, "n": 1}) == 1
