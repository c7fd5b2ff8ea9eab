"""Counts the tokens of a streamed answer from its events, as they are made.

The engine reports usage in every event, not only in a closing one: a caller that hangs up after the last text, or whose
answer is cut short, is still charged for the tokens made for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_DATA = b"data: "
_DONE = b"[DONE]"
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
        self._prompt_tokens: dict[int, int] = {}  # by prompt
        self._completion_tokens: dict[int, int] = {}  # by choice
        self._closing: tuple[int, int] | None = None

    @property
    def prompt_tokens(self) -> int:
        return sum(self._prompt_tokens.values()) if self._closing is None else self._closing[0]

    @property
    def completion_tokens(self) -> int:
        return sum(self._completion_tokens.values()) if self._closing is None else self._closing[1]

    def read(self, event: bytes) -> bytes | None:
        """Take an event's figures; returns it as the caller is to see it, ``None`` if not at all."""
        body = event.removeprefix(_DATA).strip()
        if body == _DONE:
            return event
        chunk = json.loads(body)
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
