"""From a caller's JSON to the fields of vLLM's request: an allow-list, since vLLM's own models take far more.

Among what they take is a request id, a cache salt, a chat template, media to fetch and parameters of the key-value
transfer. And a content part whose ``type`` is the name of a loaded adapter selects that adapter for a request to the
base model (``BaseServing._get_active_default_mm_loras`` in vLLM 0.32), so content is text only.

An unknown field is refused rather than dropped: it would otherwise be ignored in silence. Error messages name the
field, never a value. A field that is ``null`` counts as not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.engine_errors import EngineRefused

MAX_CHOICES = 8  # prompts times n: each is a sequence of its own in the batch that all tenants share

_SAMPLING = frozenset(
    {"frequency_penalty", "logit_bias", "max_tokens", "n", "presence_penalty", "seed", "stop", "stream"}
    | {"stream_options", "temperature", "top_p"}
    # Not OpenAI's, but common in clients of vLLM, and without effect beyond the request's own sampling.
    | {"ignore_eos", "min_p", "min_tokens", "repetition_penalty", "stop_token_ids", "top_k"}
)
_CHAT = _SAMPLING | {"messages", "logprobs", "top_logprobs", "max_completion_tokens"}
_COMPLETION = _SAMPLING | {"prompt", "logprobs", "echo"}
_SET_BY_SERVER = frozenset({"model", "cache_salt", "priority"})
_IGNORED = frozenset({"user"})  # OpenAI's label for end users: it has no effect here and may name a patient
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_MESSAGE = frozenset({"role", "content", "name"})


def chat_fields(body: Mapping[str, Any], *, model: str, cache_salt: str, request_id: str) -> dict[str, Any]:
    """Fields of a ``ChatCompletionRequest``. Raises :class:`EngineRefused` (400) for what is not allowed."""
    fields = _allowed(body, _CHAT)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refused("messages", "must be a list of at least one message")
    fields["messages"] = [_message(index, message) for index, message in enumerate(messages)]
    _check_choices(fields, prompts=1)
    return {**fields, "model": model, "cache_salt": cache_salt, "priority": 0, "request_id": request_id}


def completion_fields(body: Mapping[str, Any], *, model: str, cache_salt: str, request_id: str) -> dict[str, Any]:
    """Fields of a ``CompletionRequest``. Raises :class:`EngineRefused` (400) for what is not allowed."""
    fields = _allowed(body, _COMPLETION)
    _check_choices(fields, prompts=prompt_count(fields.get("prompt")))
    return {**fields, "model": model, "cache_salt": cache_salt, "priority": 0, "request_id": request_id}


def prompt_count(prompt: object) -> int:
    """How many sequences ``prompt`` asks for: text or token ids are one, a list of either is one each."""
    if isinstance(prompt, str) and prompt:
        return 1
    if isinstance(prompt, list) and prompt:
        return 1 if isinstance(prompt[0], int) else len(prompt)
    raise _refused("prompt", "must be text, token ids, or a list of either, and not empty")


def _allowed(body: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    sent = {name: value for name, value in body.items() if value is not None}
    for name in sorted(sent.keys() - names - _SET_BY_SERVER - _IGNORED):
        # The name too is the caller's text: a long or odd one is not repeated.
        shown = name if len(name) <= 40 and name.isascii() and name.isidentifier() else "a field"
        raise EngineRefused(400, f"{shown} is not supported here; leave it out", field=shown)
    return {name: sent[name] for name in names if name in sent}


def _check_choices(fields: Mapping[str, Any], prompts: int) -> None:
    n = fields.get("n", 1)
    if type(n) is not int or n < 1:
        raise _refused("n", "must be a whole number of at least 1")
    if n > 1 and fields.get("temperature") == 0:
        raise _refused("n", "above 1 needs a temperature above 0: without one all answers are the same")
    if n * prompts > MAX_CHOICES:
        raise _refused("n", f"times the number of prompts may be at most {MAX_CHOICES}")


def _message(index: int, message: object) -> dict[str, Any]:
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise _refused(where, "must be an object with role and content")
    # Clients send an earlier answer back with all its empty fields (tool_calls: [], refusal: null).
    sent = {name: value for name, value in message.items() if value is not None and value != []}
    if sent.keys() - _MESSAGE:
        raise _refused(where, "may have role, content and name only")
    role = sent.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _refused(f"{where}.role", f"must be one of {', '.join(sorted(_ROLES))}")
    if not isinstance(sent.get("name", ""), str):
        raise _refused(f"{where}.name", "must be text")
    return {**sent, "content": _text(where, sent.get("content"))}


def _text(where: str, content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part["text"] for part in content if _is_text_part(part)]
        if len(parts) == len(content):
            return "\n".join(parts)
    raise _refused(f"{where}.content", "must be text, or a list of parts of type text")


def _is_text_part(part: object) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() == {"type", "text"}
        and part["type"] == "text"
        and isinstance(part["text"], str)
    )


def _refused(field: str, message: str) -> EngineRefused:
    return EngineRefused(400, f"{field} {message}", field=field)
