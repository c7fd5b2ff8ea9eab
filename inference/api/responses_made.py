"""Translates chat answers into those of ``POST /v1/responses``: a whole one, and the objects that events carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from inference.knowledge.retrieval import FIELD

PREFIX = "resp_"
Item = dict[str, Any]
Kind = Literal["message", "reasoning", "function_call"]
_ITEM_PREFIXES: Mapping[Kind, str] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


def made(
    repeated: Mapping[str, Any],
    request_id: str,
    model: str,
    created: float,
    *,
    status: str,
    output: list[Item],
    usage: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """A response. ``repeated`` is what it repeats of its request."""
    return {
        **repeated,
        "id": f"{PREFIX}{request_id}",
        "object": "response",
        "created_at": int(created),
        "status": status,
        "error": None if error is None else {"code": "server_error", "message": error},
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": model,
        "output": output,
        "usage": None if usage is None else _usage(usage),
    }


def of_chat(repeated: Mapping[str, Any], request_id: str, model: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The response of a whole chat answer."""
    choice = answer["choices"][0]
    said, status = choice["message"], status_of(choice.get("finish_reason"))
    output: list[Item] = []

    def next_id(kind: Kind) -> str:
        return item_id(kind, request_id, len(output))

    if thought := said.get("reasoning"):
        output.append(reasoning_item(next_id("reasoning"), thought, "completed"))
    calls = said.get("tool_calls") or []
    if said.get("content") or not calls:
        output.append(message_item(next_id("message"), said.get("content") or "", status))
    for call in calls:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        output.append(call_item(next_id("function_call"), call["id"], name, arguments, status))
    whole = made(repeated, request_id, model, answer["created"], status=status, output=output, usage=answer["usage"])
    return {**whole, FIELD: answer[FIELD]} if FIELD in answer else whole


def status_of(finish_reason: str | None) -> str:
    """``incomplete`` for an answer that was cut off by its length."""
    return "incomplete" if finish_reason == "length" else "completed"


def item_id(kind: Kind, request_id: str, at: int) -> str:
    """Of the item at a place of the output."""
    return f"{_ITEM_PREFIXES[kind]}_{request_id}_{at}"


def reasoning_item(own_id: str, text: str | None, status: str) -> Item:
    """What the model thought before it answered; without text while there is none yet."""
    content = [] if text is None else [reasoning_part(text)]
    return {"type": "reasoning", "id": own_id, "summary": [], "content": content, "status": status}


def message_item(own_id: str, text: str | None, status: str) -> Item:
    """What the model said; without text while there is none yet."""
    content = [] if text is None else [text_part(text)]
    return {"type": "message", "id": own_id, "role": "assistant", "content": content, "status": status}


def call_item(own_id: str, call_id: str, name: str, arguments: str, status: str) -> Item:
    """One call of a function."""
    named = {"call_id": call_id, "name": name, "arguments": arguments, "status": status}
    return {"type": "function_call", "id": own_id, **named}


def text_part(text: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def reasoning_part(text: str) -> dict[str, Any]:
    """A part of a reasoning item."""
    return {"type": "reasoning_text", "text": text}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """In this route's names. Tokens of reasoning are among the output's."""
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": prompt + completion,
    }
