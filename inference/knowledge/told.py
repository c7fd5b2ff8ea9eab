"""Makes what an answer says of its retrieval: the event that ends a stream, and the fixed answer without support."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from inference.knowledge.retrieval import FIELD, NO_SUPPORT, Retrieved

DONE = b"data: [DONE]\n\n"
UNSUPPORTED = {"supported": False, "citations": []}


class FixedEvents(AsyncIterator[bytes]):
    """Events that are all there, in the shape of an engine's stream."""

    def __init__(self, *events: bytes) -> None:
        self._events = list(events)

    async def __anext__(self) -> bytes:
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop(0)

    async def made(self) -> None: ...

    def give_up(self) -> None:
        self._events.clear()

    async def aclose(self) -> None:
        self._events.clear()


def closing_event(model: str, retrieved: Retrieved, answer_id: str) -> bytes:
    """A chunk without choices, as OpenAI's closing one with usage, so that clients pass it on or over."""
    return _event(_chunk(model, answer_id, []) | {FIELD: retrieved.told()})


def declined(model: str, answer_id: str) -> dict[str, Any]:
    """The answer that no document supports one. The engine was not asked."""
    message = {"role": "assistant", "content": NO_SUPPORT}
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        FIELD: UNSUPPORTED,
    }


def declined_events(model: str, answer_id: str) -> FixedEvents:
    """:func:`declined`, as a stream."""
    delta = {"index": 0, "delta": {"role": "assistant", "content": NO_SUPPORT}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return FixedEvents(
        _event(_chunk(model, answer_id, [delta])),
        _event(_chunk(model, answer_id, [end])),
        _event(_chunk(model, answer_id, []) | {FIELD: UNSUPPORTED}),
        DONE,
    )


def _chunk(model: str, answer_id: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
