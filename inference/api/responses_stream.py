"""Translates a chat's stream, event by event, into the events of ``POST /v1/responses``."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.api import responses_made as shapes
from inference.api.responses_made import Item, Kind
from inference.knowledge.retrieval import FIELD

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DELTAS = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_text",
    "function_call": "response.function_call_arguments",
}
_MORE: Mapping[str, Any] = {"logprobs": []}  # of text; clients read it without asking whether it is there


@dataclass
class _Open:
    """The item that is being written. ``call`` is its id and name, of a function call."""

    kind: Kind
    at: int
    item_id: str
    call: tuple[str, str] = ("", "")
    call_index: int | None = None
    written: list[str] = field(default_factory=list)

    def item(self, status: str, *, begins: bool = False) -> Item:
        text = "".join(self.written)
        if self.kind == "function_call":
            return shapes.call_item(self.item_id, *self.call, text, status)
        make = shapes.message_item if self.kind == "message" else shapes.reasoning_item
        return make(self.item_id, None if begins else text, status)

    def part(self) -> dict[str, Any]:
        text = "".join(self.written)
        return shapes.text_part(text) if self.kind == "message" else shapes.reasoning_part(text)


@dataclass
class ResponseEvents:
    """One stream. ``repeated`` is what a response repeats of its request; what is written so far is held, since the
    last events carry all of it.
    """

    repeated: Mapping[str, Any]
    request_id: str
    model: str
    created: float = field(default_factory=time.time)
    _number: int = 0
    _done: list[Item] = field(default_factory=list)
    _open: _Open | None = None
    _finish_reason: str | None = None
    _usage: Mapping[str, Any] | None = None
    _retrieval: Mapping[str, Any] | None = None
    _has_begun: bool = False
    _has_ended: bool = False

    def __call__(self, event: bytes) -> Iterator[bytes]:
        """The events that stand for one event of the chat's stream."""
        body = event.removeprefix(b"data: ").strip()
        if self._has_ended:
            return
        if not self._has_begun:
            self._has_begun = True
            for name in ("response.created", "response.in_progress"):
                yield self._event(name, response=self._response("in_progress"))
        if body == b"[DONE]":
            yield from self._end()
            return
        chunk = json.loads(body)
        if "error" in chunk:
            self._has_ended = True
            yield from self._close("incomplete")
            yield self._event("response.failed", response=self._response("failed", chunk["error"]["message"]))
            return
        self._usage = chunk.get("usage") or self._usage
        self._retrieval = chunk.get(FIELD) or self._retrieval
        for choice in chunk["choices"]:
            yield from self._said(choice["delta"])
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _said(self, delta: Mapping[str, Any]) -> Iterator[bytes]:
        if thought := delta.get("reasoning"):
            yield from self._write(thought, "reasoning")
        if content := delta.get("content"):
            yield from self._write(content, "message")
        for call in delta.get("tool_calls") or ():
            yield from self._called(call)

    def _called(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        function = call.get("function") or {}
        held = self._open
        if held is None or held.call_index != call["index"]:
            named = (call.get("id") or "", function.get("name") or "")
            held = yield from self._begin("function_call", named, call["index"])
        if arguments := function.get("arguments"):
            yield self._delta(held, arguments)

    def _write(self, text: str, kind: Kind) -> Iterator[bytes]:
        held = self._open
        if held is None or held.kind != kind:
            held = yield from self._begin(kind)
        yield self._delta(held, text)

    def _begin(
        self, kind: Kind, call: tuple[str, str] = ("", ""), call_index: int | None = None
    ) -> Generator[bytes, None, _Open]:
        """End what is open, and open the next item."""
        yield from self._close("completed")
        at = len(self._done)
        new = self._open = _Open(kind, at, shapes.item_id(kind, self.request_id, at), call, call_index)
        item = new.item("in_progress", begins=True)
        yield self._event("response.output_item.added", output_index=new.at, item=item)
        if kind != "function_call":
            yield self._event("response.content_part.added", **self._place(new), part=new.part())
        return new

    def _delta(self, held: _Open, text: str) -> bytes:
        held.written.append(text)
        more = _MORE if held.kind == "message" else {}
        return self._event(f"{_DELTAS[held.kind]}.delta", **self._place(held), delta=text, **more)

    def _close(self, status: str) -> Iterator[bytes]:
        """End the item that is open. ``incomplete`` is one that the answer's length cut off."""
        if self._open is None:
            return
        held, self._open = self._open, None
        text, item = "".join(held.written), held.item(status)
        self._done.append(item)
        if held.kind == "function_call":
            yield self._event(f"{_DELTAS[held.kind]}.done", **self._place(held), arguments=text)
        else:
            more = _MORE if held.kind == "message" else {}
            yield self._event(f"{_DELTAS[held.kind]}.done", **self._place(held), text=text, **more)
            yield self._event("response.content_part.done", **self._place(held), part=held.part())
        yield self._event("response.output_item.done", output_index=held.at, item=item)

    def _end(self) -> Iterator[bytes]:
        self._has_ended = True
        status = shapes.status_of(self._finish_reason)
        if not self._done and self._open is None:  # as a whole answer, which has a message without text then
            yield from self._begin("message")
        yield from self._close(status)
        response = self._response(status)
        if self._retrieval is not None:
            response[FIELD] = self._retrieval
        yield self._event(f"response.{status}", response=response)

    def _place(self, held: _Open) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": held.item_id, "output_index": held.at}
        return place if held.kind == "function_call" else {**place, "content_index": 0}

    def _response(self, status: str, error: str | None = None) -> dict[str, Any]:
        return shapes.made(
            self.repeated,
            self.request_id,
            self.model,
            self.created,
            status=status,
            output=list(self._done),
            usage=self._usage,
            error=error,
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {_encode(data)}\n\n".encode()
