"""Translates a request of ``POST /v1/responses`` into a chat request, whose messages are the whole of its input.

Only the shape is checked here. Values are checked as the chat's are, and :func:`in_their_words` names the field of this
route where that refuses one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from inference.engine.errors import EngineRefused
from inference.engine.field_checks import not_stored, one_of, refused, require_known, text, whole
from inference.engine.message_fields import MAX_MESSAGES
from inference.engine.request_fields import chat_fields
from inference.knowledge.retrieval import FIELD

_AS_IN_CHAT = frozenset(
    {
        *("model", "temperature", "top_p", "parallel_tool_calls", "stream", FIELD),
        *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "user"),
    }
)
_TRANSLATED = frozenset({"input", "instructions", "max_output_tokens", "reasoning", "text", "tool_choice", "tools"})
_KEPT_NOWHERE = ("previous_response_id", "conversation", "background")
_DEFAULTS = frozenset({"store", "stream_options", "truncation"})
FIELDS = _AS_IN_CHAT | _TRANSLATED | _DEFAULTS | frozenset(_KEPT_NOWHERE)

MAX_OUTPUT_TOKENS = 2**31 - 1
_ROLES = ("assistant", "developer", "system", "user")
_TEXT_PARTS = ("input_text", "output_text")
_FORMAT = ("name", "description", "schema", "strict")
# What the chat's checks call a field, and what it is called here.
_NAMES = (
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("reasoning_effort", "reasoning.effort"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("tool_choice.function", "tool_choice"),
    ("messages", "input"),
    ("input_tokens", "input"),
    ("input_text", "input"),
)


@dataclass(frozen=True)
class Asked:
    """The request as a chat asks it, and what the answer repeats of it."""

    chat: dict[str, Any]
    repeated: dict[str, Any]


def asked_for(body: Mapping[str, Any]) -> Asked:
    """Raises :class:`EngineRefused` (400), which names the field and never a value."""
    sent = {name: value for name, value in body.items() if value not in (None, [], {})}
    if body.get(FIELD) is not None:  # an empty one asks for documents too
        sent[FIELD] = body[FIELD]
    require_known(sent, FIELDS)
    _require_stateless(sent)
    chat = {name: sent[name] for name in _AS_IN_CHAT & sent.keys()}
    chat["messages"] = _messages(sent)
    if "max_output_tokens" in sent:
        whole(1, MAX_OUTPUT_TOKENS)("max_output_tokens", sent["max_output_tokens"])
        chat["max_completion_tokens"] = sent["max_output_tokens"]
    if "reasoning" in sent:
        chat["reasoning_effort"] = _only("reasoning", sent["reasoning"], "effort").get("effort")
    if "text" in sent and (form := _response_format(sent["text"])) is not None:
        chat["response_format"] = form
    if "tools" in sent:
        chat["tools"] = _tools(sent["tools"])
    if "tool_choice" in sent:
        chat["tool_choice"] = _tool_choice(sent["tool_choice"])
    if sent.get("stream") is True:
        chat["stream_options"] = {"include_usage": True}
    with in_their_words():  # here too, since the answer repeats what not every answer asks the engine with
        seen = {name: value for name, value in chat.items() if name != FIELD}
        chat_fields(seen, model="", cache_salt="", request_id="")
    return Asked(chat, _repeated(sent))


@contextmanager
def in_their_words() -> Iterator[None]:
    """A refusal in the chat's names becomes one in the names of this route."""
    try:
        yield
    except EngineRefused as refusal:
        if refusal.field is None:
            raise
        theirs = next((pair for pair in _NAMES if refusal.field.startswith(pair[0])), None)
        ours = refusal.field if theirs is None else refusal.field.replace(*theirs, 1)
        # An item of the input is not always a message of its own, and a tool has no ``function`` within.
        ours = re.sub(r"^input\[\d+\].*", "input", re.sub(r"^(tools\[\d+\])\.function", r"\1", ours))
        raise EngineRefused(refusal.status, refusal.message.replace(refusal.field, ours, 1), field=ours) from None


def _require_stateless(sent: Mapping[str, Any]) -> None:
    for name in _KEPT_NOWHERE:
        if sent.get(name, False) is not False:
            raise refused(name, "is not supported here: no answer is kept; send the whole conversation as input")
    if "store" in sent:
        not_stored("store", sent["store"])
    if "truncation" in sent:
        one_of("disabled")("truncation", sent["truncation"])
    if "stream_options" in sent:
        options = _only("stream_options", sent["stream_options"], "include_obfuscation")
        if options.get("include_obfuscation", False) is not False:
            raise refused("stream_options.include_obfuscation", "must be false: events are not padded here")


def _messages(sent: Mapping[str, Any]) -> list[dict[str, Any]]:
    given, messages = sent.get("input"), []
    if "instructions" in sent:
        text("instructions", sent["instructions"])
        messages.append({"role": "system", "content": sent["instructions"]})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not 0 < len(given) <= MAX_MESSAGES:
        raise refused("input", f"must be text, or a list of 1 to {MAX_MESSAGES} items")
    for index, item in enumerate(given):
        _add(messages, f"input[{index}]", item)
    return messages


def _add(messages: list[dict[str, Any]], where: str, item: object) -> None:
    """The item as a message, or as a part of the assistant's last one: its calls are items of their own here."""
    kind = (item.get("type") or "message") if isinstance(item, dict) else None
    if not isinstance(item, dict) or kind not in ("message", "function_call", "function_call_output", "reasoning"):
        raise refused(where, "must be a message, a function_call or a function_call_output")
    if kind == "reasoning":
        return  # of an earlier answer: no template is to see it again
    sent = {name: value for name, value in item.items() if name not in ("type", "id", "status")}
    if kind == "function_call_output":
        given = _only(where, sent, "call_id", "output")
        content = _content(f"{where}.output", given.get("output"))
        messages.append({"role": "tool", "tool_call_id": given.get("call_id"), "content": content})
    elif kind == "function_call":
        given = _only(where, sent, "call_id", "name", "arguments")
        call = {"name": given.get("name"), "arguments": given.get("arguments")}
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": ""})
        calls = messages[-1].setdefault("tool_calls", [])
        calls.append({"id": given.get("call_id"), "type": "function", "function": call})
    else:
        given = _only(where, sent, "role", "content", "phase")
        one_of(*_ROLES)(f"{where}.role", given.get("role"))
        messages.append({"role": given["role"], "content": _content(f"{where}.content", given.get("content"))})


def _content(where: str, given: object) -> str:
    if isinstance(given, list):
        given = "\n".join(_part(f"{where}[{index}]", part) for index, part in enumerate(given))
    if not isinstance(given, str):
        raise refused(where, "must be text, or a list of parts of type input_text or output_text")
    text(where, given)
    return given


def _part(where: str, part: object) -> str:
    if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise refused(where, "must be a part of type input_text or output_text")
    _only(where, part, "type", "text", "annotations", "logprobs")
    said: str = part["text"]
    return said


def _response_format(given: object) -> dict[str, Any] | None:
    sent = _only("text", given, "format", "verbosity")
    if sent.get("verbosity") is not None:
        one_of("medium")("text.verbosity", sent["verbosity"])
    form = sent.get("format")
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        chosen: dict[str, Any] = form if isinstance(form, dict) else {"type": None}
        return chosen
    given_form = _only("text.format", form, "type", *_FORMAT)
    return {"type": "json_schema", "json_schema": {n: each for n, each in given_form.items() if n != "type"}}


def _tools(given: object) -> list[Any]:
    if not isinstance(given, list):
        raise refused("tools", "must be a list of functions")
    return [_tool(f"tools[{index}]", tool) for index, tool in enumerate(given)]


def _tool(where: str, tool: object) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise refused(where, "must be of type function: no other tools run here")
    sent = _only(where, tool, "type", "name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: value for name, value in sent.items() if name != "type"}}


def _tool_choice(given: object) -> object:
    if not isinstance(given, dict):
        return given
    _only("tool_choice", given, "type", "name")
    return {"type": given.get("type"), "function": {"name": given.get("name")}}


def _repeated(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a response that say how it was asked for. Labels, which may name a patient, are not repeated."""
    form = (sent.get("text") or {}).get("format") or {"type": "text"}
    tools = [{"parameters": None, "strict": None, **tool} for tool in sent.get("tools", [])]
    return {
        "background": False,
        "instructions": sent.get("instructions"),
        "max_output_tokens": sent.get("max_output_tokens"),
        "metadata": {},
        "parallel_tool_calls": sent.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": (sent.get("reasoning") or {}).get("effort"), "summary": None},
        "store": False,
        "temperature": sent.get("temperature"),
        "text": {"format": form},
        "tool_choice": sent.get("tool_choice", "auto"),
        "tools": tools,
        "top_p": sent.get("top_p"),
        "truncation": "disabled",
    }


def _only(field: str, value: object, *names: str) -> dict[str, Any]:
    """The fields that are not ``null``, which must be among these."""
    sent = {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else None
    if sent is None or sent.keys() - set(names):
        raise refused(field, f"must be an object, and may have {', '.join(names)} only")
    return sent
