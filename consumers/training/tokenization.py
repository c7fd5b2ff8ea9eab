"""Turns an example's messages into token ids and labels, so that only the reviewer's answer is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from schemas.bus.content import ChatMessage
from tenancy.errors import Refused

IGNORED = -100
"""The label that ``torch.nn.functional.cross_entropy`` leaves out of the loss."""


@dataclass(frozen=True)
class TrainingExample:
    """One approved example: earlier turns and, last, the assistant's answer."""

    example_id: str
    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True)
class TokenizedExample:
    """``input_ids`` and ``labels`` have one length. Labels are the ids of the answer and of its end-of-turn token,
    and :data:`IGNORED` for the ``prompt_tokens`` before them."""

    example_id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    prompt_tokens: int

    @property
    def answer_tokens(self) -> int:
        return len(self.input_ids) - self.prompt_tokens


class ExampleRefused(Refused):
    """An example cannot be trained on. The message names its id and the reason, never its text."""

    def __init__(self, code: str, example_id: str, reason: str) -> None:
        super().__init__(code, f"refused: example {example_id}: {reason}")


class ExampleTooLong(ExampleRefused):
    """An example has more tokens than ``max_length``. It is not cut, since a cut answer teaches a wrong one."""

    def __init__(self, example_id: str, tokens: int, max_length: int) -> None:
        super().__init__(
            "too-long", example_id, f"{tokens} tokens, more than {max_length}; shorten it or raise max_length"
        )
        self.tokens = tokens
        self.max_length = max_length


def tokenize_example(tokenizer: Any, example: TrainingExample, max_length: int) -> TokenizedExample:
    """Apply the tokenizer's chat template, as serving does, and label the last turn only.

    Raises :class:`ExampleTooLong`, and :class:`ExampleRefused` when the last turn is not the assistant's or is blank,
    when the text spells a control token (it would forge a turn), or when the template refuses the turns, does not
    render the prompt as a prefix of the whole chat, or does not end the answer with the end-of-turn token.
    """
    identifier, messages = example.example_id, example.messages
    if len(messages) < 2 or messages[-1].role != "assistant" or not messages[-1].content.strip():
        raise ExampleRefused("no-answer", identifier, "it must end with an assistant turn that answers another")
    if any(token in message.content for message in messages for token in tokenizer.all_special_tokens):
        raise ExampleRefused("control-token", identifier, "a message spells a control token of the model")
    try:
        prompt = _render(tokenizer, messages[:-1], add_generation_prompt=True)
        chat = _render(tokenizer, messages, add_generation_prompt=False)
    except TemplateError:  # its text is the template's and may quote a turn
        raise ExampleRefused("chat-template", identifier, "the chat template refuses its turns") from None
    if chat[: len(prompt)] != prompt:
        why = "the chat template does not keep the prompt as a prefix of the chat"
        raise ExampleRefused("chat-template", identifier, why)
    end = _end_of_turn(chat, len(prompt), tokenizer.eos_token_id)
    if end is None:
        why = "the chat template does not end the answer with the end-of-turn token"
        raise ExampleRefused("chat-template", identifier, why)
    if end > max_length:
        raise ExampleTooLong(identifier, end, max_length)
    labels = (IGNORED,) * len(prompt) + chat[len(prompt) : end]
    return TokenizedExample(identifier, chat[:end], labels, len(prompt))


def tokenize_examples(
    tokenizer: Any, examples: Sequence[TrainingExample], max_length: int
) -> dict[str, TokenizedExample]:
    """:func:`tokenize_example` of each, by id. Raises also :class:`ExampleRefused` when an id occurs twice."""
    tokenized: dict[str, TokenizedExample] = {}
    for example in examples:
        if example.example_id in tokenized:
            raise ExampleRefused("repeated", example.example_id, "it occurs twice in the training set")
        tokenized[example.example_id] = tokenize_example(tokenizer, example, max_length)
    return tokenized


def refusals(tokenizer: Any, examples: Sequence[TrainingExample], max_length: int) -> dict[str, str]:
    """By id, the code of each example that :func:`tokenize_example` refuses."""
    codes = {}
    for example in examples:
        try:
            tokenize_example(tokenizer, example, max_length)
        except ExampleRefused as refused:
            codes[example.example_id] = refused.code
    return codes


def _render(tokenizer: Any, messages: Sequence[ChatMessage], *, add_generation_prompt: bool) -> tuple[int, ...]:
    chat = [{"role": message.role, "content": message.content} for message in messages]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
    )
    return tuple(int(token) for token in ids)


def _end_of_turn(chat: tuple[int, ...], start: int, end_token: int) -> int | None:
    """One past the last end-of-turn token. What a template writes after it, such as a newline, is never generated."""
    for position in range(len(chat) - 1, start, -1):
        if chat[position] == end_token:
            return position + 1
    return None
