"""Counts the tokens of an answer from the engine's steps, as they are made.

Events are passed on as vLLM writes them: to ask it for usage in each of them, and to read that, is much of what the
API's process would do for a token. So a caller that hangs up after the last text, or whose answer is cut short, is
still charged for the tokens made for it; so is one who leaves before a whole answer. The figures of a stream's closing
event take the place of what was counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DATA = b"data: "
_DONE = b"[DONE]"
_HAS_CHOICE = b'"choices":[{'
"""Of nearly every event. A text cannot hold it: in JSON each quote of a text is escaped."""
OPENING = 64
"""Characters of an answer by which it can be told how it begins. They are forgotten with the stream."""
_FIRST = 24
"""Events in which the opening is looked for: a token each, and most of them hold more than two characters."""


@dataclass
class Computed:
    """The tokens of one answer so far."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def computed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add what a step of the engine has computed."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


class StreamUsage(Computed):
    """The tokens of one stream so far. ``body`` is the caller's request, allowed already: it says what the caller
    wants to see of this.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__()
        options = body.get("stream_options") or {}
        self._shows_closing = bool(options.get("include_usage"))
        self._is_closed = False
        self._first: list[bytes] = []
        self.failed = False
        """An error ended the stream."""

    def computed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """As long as the stream has not said its figures itself."""
        if not self._is_closed:
            super().computed(prompt_tokens, completion_tokens)

    def read(self, event: bytes) -> bytes | None:
        """Look at an event; returns it where the caller is to see it, and ``None`` otherwise."""
        if _HAS_CHOICE in event:
            self._keep(event)
            return event
        body = event.removeprefix(_DATA).strip()
        if body == _DONE:
            return event
        chunk = json.loads(body)
        self.failed = self.failed or "error" in chunk
        usage = chunk.get("usage")
        if usage is None or chunk.get("choices"):
            self._keep(event)
            return event
        self.prompt_tokens, self.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
        self._is_closed = True
        return event if self._shows_closing else None

    def _keep(self, event: bytes) -> None:
        if len(self._first) < _FIRST:
            self._first.append(event)

    @property
    def opening(self) -> str:
        """The first text of the first choice. It is read when somebody asks for it, which costs no token anything."""
        chunks = (json.loads(event.removeprefix(_DATA)) for event in self._first)
        return "".join(opening_of(chunk.get("choices")) for chunk in chunks)[:OPENING]


def opening_of(choices: object) -> str:
    """The first text of the first choice of an answer, or of a part of it; chats say it otherwise than completions."""
    first = choices[0] if isinstance(choices, list) and choices else {}
    said = (first.get("delta") or first.get("message") or {}).get("content") or first.get("text")
    return said[:OPENING] if isinstance(said, str) else ""
