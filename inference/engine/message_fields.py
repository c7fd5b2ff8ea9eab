"""Checks the messages of a chat: who speaks, text only, calls of tools and their results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from inference.engine import field_checks
from inference.engine.field_checks import refused

# Each costs the event loop of all tenants ten microseconds in vLLM's checks and in its template, even an empty one.
MAX_MESSAGES = 2048  # OpenAI's own limit
MAX_CALLS = 128

_MESSAGE = frozenset({"role", "content", "name"})
_OF_ROLE: Mapping[str, frozenset[str]] = {
    "system": _MESSAGE,
    "developer": _MESSAGE,
    "user": _MESSAGE,
    "assistant": _MESSAGE | {"tool_calls"},
    "tool": _MESSAGE | {"tool_call_id"},
}
# What an earlier answer carries beside its text, and clients send back: no template is to see it again.
_DROPPED = frozenset({"reasoning", "reasoning_content", "annotations", "refusal", "provider_specific_fields"})
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FUNCTION = re.compile(r"[A-Za-z0-9_-]{1,64}")


def messages(field: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise refused(field, "must be a list of at least one message")
    if len(value) > MAX_MESSAGES:
        raise refused(field, f"may have at most {MAX_MESSAGES} entries")


def chat(value: Any) -> list[dict[str, Any]]:
    """The messages as vLLM is to get them, each with its content as one text. Raises :class:`EngineRefused` (400)."""
    messages("messages", value)
    return [message(at, each) for at, each in enumerate(value)]


def message(index: int, given: object) -> dict[str, Any]:
    """The message as vLLM is to get it. Raises :class:`EngineRefused` (400)."""
    where = f"messages[{index}]"
    if not isinstance(given, dict):
        raise refused(where, "must be an object with role and content")
    # Clients send an earlier answer back with all its empty fields (tool_calls: [], refusal: null).
    sent = {name: value for name, value in given.items() if value is not None and value != []}
    role = sent.get("role")
    if not isinstance(role, str) or role not in _OF_ROLE:
        raise refused(f"{where}.role", f"must be one of {', '.join(sorted(_OF_ROLE))}")
    if role == "assistant":
        # An answer that called tools, or was cut off while the model reasoned, has no content.
        sent = {"content": "", **{name: value for name, value in sent.items() if name not in _DROPPED}}
    if sent.keys() - _OF_ROLE[role]:
        raise refused(where, f"may have {', '.join(sorted(_OF_ROLE[role]))} only")
    field_checks.text(f"{where}.name", sent.get("name", ""))
    if "tool_calls" in sent:
        sent["tool_calls"] = _calls(f"{where}.tool_calls", sent["tool_calls"])
    if role == "tool":
        _matches(_CALL_ID, f"{where}.tool_call_id", sent.get("tool_call_id"))
    content = _text(where, sent.get("content"))
    field_checks.text(f"{where}.content", content)
    return {**sent, "content": content}


def _calls(where: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_CALLS:
        raise refused(where, f"must be a list of at most {MAX_CALLS} calls")
    return [_call(f"{where}[{index}]", call) for index, call in enumerate(value)]


def _call(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() - {"id", "type", "function", "index"}:
        raise refused(where, "must be an object with id, type and function")
    if value.get("type", "function") != "function":
        raise refused(f"{where}.type", "must be function")
    function = value.get("function")
    if not isinstance(function, dict) or function.keys() - {"name", "arguments"}:
        raise refused(f"{where}.function", "must be an object with name and arguments")
    _matches(_CALL_ID, f"{where}.id", value.get("id"))
    _matches(_FUNCTION, f"{where}.function.name", function.get("name"))
    arguments = function.get("arguments", "{}")
    field_checks.text(f"{where}.function.arguments", arguments)
    try:  # vLLM reads them too, on the event loop
        is_object = isinstance(json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise refused(f"{where}.function.arguments", "must be a JSON object, as text")
    named = {"name": function["name"], "arguments": arguments or "{}"}
    return {"id": value["id"], "type": "function", "function": named}


def _matches(pattern: re.Pattern[str], where: str, value: object) -> None:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise refused(where, "must be letters, digits, underscores and hyphens")


def _text(where: str, content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part["text"] for part in content if _is_text_part(part)]
        if len(parts) == len(content):
            return "\n".join(parts)
    raise refused(f"{where}.content", "must be a string, or a list of parts of type text")


def _is_text_part(part: object) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() == {"type", "text"}
        and part["type"] == "text"
        and isinstance(part["text"], str)
    )
