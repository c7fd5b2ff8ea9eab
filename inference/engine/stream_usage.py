"""Counts the tokens of a streamed answer from its events, as they are made.

The engine reports usage in every event, not only in a closing one: a caller that hangs up after the last text, or whose
answer is cut short, is still charged for the tokens made for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from inference.engine.request_fields import prompt_count

_DATA = b"data: "
_DONE = b"[DONE]"
_HAS_CHOICE = b'"choices":[{'
# The end of nearly every event as vLLM writes it. A text cannot hold it: in JSON each quote of a text is escaped.
_FIGURES = re.compile(
    rb',"usage":\{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)'
    rb'(?:,"completion_tokens_details":(?:null|\{[^{}]*\}))?(\}\}\n\n)\Z'
)
OPENING = 64
"""Characters of an answer by which it can be told how it begins. They are forgotten with the stream."""
_FIRST = 24
"""Events in which the opening is looked for: a token each, and most of them hold more than two characters."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class StreamUsage:
    """The tokens of one stream so far. ``body`` is the caller's request, allowed already: it says what the caller
    wants to see of this.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        options = body.get("stream_options") or {}
        self._shows_closing = bool(options.get("include_usage"))
        self._shows_each = self._shows_closing and bool(options.get("continuous_usage_stats"))
        self._choices_per_prompt: int = body.get("n") or 1
        self._has_one_choice = self._choices_per_prompt == 1 and prompt_count(body.get("prompt") or "") == 1
        self._prompt_tokens: dict[int, int] = {}  # by prompt
        self._completion_tokens: dict[int, int] = {}  # by choice
        self._closing: tuple[int, int] | None = None
        self._first: list[bytes] = []
        self.failed = False
        """An error ended the stream."""

    @property
    def prompt_tokens(self) -> int:
        return sum(self._prompt_tokens.values()) if self._closing is None else self._closing[0]

    @property
    def completion_tokens(self) -> int:
        return sum(self._completion_tokens.values()) if self._closing is None else self._closing[1]

    def read(self, event: bytes) -> bytes | None:
        """Take an event's figures; returns it as the caller is to see it, ``None`` if not at all.

        To parse each as JSON and write it anew is much of what the API's process would do for a token. So the figures
        of an answer's one choice are read where vLLM writes them; whatever looks otherwise is parsed.
        """
        if self._has_one_choice and (found := _FIGURES.search(event)) and _HAS_CHOICE in event:
            self._prompt_tokens[0], self._completion_tokens[0] = int(found[1]), int(found[2])
            self._keep(event)
            return event if self._shows_each else event[: found.start()] + found[3][1:]
        body = event.removeprefix(_DATA).strip()
        if body == _DONE:
            return event
        chunk = json.loads(body)
        self.failed = self.failed or "error" in chunk
        self._keep(event)
        usage = chunk.pop("usage", None)
        if usage is None:
            return event
        if not chunk["choices"]:
            self._closing = usage["prompt_tokens"], usage["completion_tokens"]
            return event if self._shows_closing else None
        for choice in chunk["choices"]:
            self._prompt_tokens[choice["index"] // self._choices_per_prompt] = usage["prompt_tokens"]
            self._completion_tokens[choice["index"]] = usage["completion_tokens"]
        if self._shows_each:
            return event
        return _DATA + _encode(chunk).encode() + b"\n\n"

    @property
    def opening(self) -> str:
        """The first text of the first choice. It is read when somebody asks for it, which costs no token anything."""
        chunks = (json.loads(event.removeprefix(_DATA)) for event in self._first)
        return "".join(opening_of(chunk.get("choices")) for chunk in chunks)[:OPENING]

    def _keep(self, event: bytes) -> None:
        if len(self._first) < _FIRST:
            self._first.append(event)


def opening_of(choices: object) -> str:
    """The first text of the first choice of an answer, or of a part of it; chats say it otherwise than completions."""
    first = choices[0] if isinstance(choices, list) and choices else {}
    said = (first.get("delta") or first.get("message") or {}).get("content") or first.get("text")
    return said[:OPENING] if isinstance(said, str) else ""
