"""Guesses what a request will take of the engine, before anybody has checked it: any JSON may come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from inference.engine.field_checks import MAX_CHOICES

CHARACTERS_PER_TOKEN = 4
"""Of English and a usual vocabulary. The guess is put right by the first event of the answer."""


def prompt_tokens(kind: Literal["chat", "completion"], body: Mapping[str, Any], most: int) -> int:
    """About how many tokens of input, from 1 to ``most``: what is longer is refused later, and not looked at here."""
    characters, parts = 0, [body.get("messages" if kind == "chat" else "prompt")]
    while parts and characters < most * CHARACTERS_PER_TOKEN:
        part = parts.pop()
        characters += 1  # or a body of a million empty parts would be looked through
        if isinstance(part, str):
            characters += len(part)
        elif isinstance(part, int):
            characters += CHARACTERS_PER_TOKEN  # a prompt of token ids
        elif isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend(part.values())
    return min(most, max(1, characters // CHARACTERS_PER_TOKEN))


def sequences(kind: Literal["chat", "completion"], body: Mapping[str, Any]) -> int:
    """How many sequences, from 1 to what is allowed."""
    n, prompt = body.get("n"), body.get("prompt")
    choices = n if isinstance(n, int) and n > 0 else 1
    prompts = len(prompt) if kind == "completion" and isinstance(prompt, list) and prompt else 1
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        prompts = 1  # token ids
    return min(MAX_CHOICES, choices * prompts)
