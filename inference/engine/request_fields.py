"""Maps a caller's JSON to the fields of vLLM's request by an allow-list, since vLLM's own models accept far more.

They also accept a request id, a cache salt, a chat template, media to fetch and parameters of the key-value transfer.
And a content part whose ``type`` is the name of a loaded adapter selects that adapter for a request to the
base model (``BaseServing._get_active_default_mm_loras`` in vLLM 0.32), so content is text only.

An unknown field is refused rather than dropped: it would otherwise be ignored in silence. A field is dropped only where
no answer could differ for it. Error messages name the field, never a value. A field that is empty (``null``, ``[]``,
``{}``) counts as not sent: clients fill in all that they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.engine import constrained_fields, field_checks, message_fields
from inference.engine.constrained_fields import Constraint, constrained, constraints_of
from inference.engine.field_checks import (
    MAX_CHOICES,
    MAX_INT32,
    MAX_INT64,
    MAX_LOGPROBS,
    Check,
    flag,
    number,
    refused,
    require_known,
    whole,
)

_SAMPLING: Mapping[str, Check] = {
    "frequency_penalty": number(-2, 2),
    "logit_bias": field_checks.logit_biases,
    "max_tokens": whole(0, MAX_INT32),
    "n": whole(1, MAX_CHOICES),
    "presence_penalty": number(-2, 2),
    "seed": whole(-MAX_INT64 - 1, MAX_INT64),
    "stop": field_checks.stops,
    "stream": flag,
    "stream_options": field_checks.stream_options,
    "temperature": number(0, 2),
    # The workers keep these in float32, where a smaller one could be 0 and what is divided by it no number.
    "top_p": number(1e-6, 1),
    "repetition_penalty": number(0.01, 100),
    # This and the rest are not OpenAI's, but common in clients of vLLM, and without effect beyond the request itself.
    "ignore_eos": flag,
    "min_p": number(0, 1),
    "min_tokens": whole(0, MAX_INT32),
    "stop_token_ids": field_checks.stop_token_ids,
    "top_k": whole(-1, MAX_INT32),
}
_CHAT: Mapping[str, Check] = {
    **_SAMPLING,
    "logprobs": flag,
    "max_completion_tokens": whole(0, MAX_INT32),
    "messages": message_fields.messages,
    "parallel_tool_calls": flag,
    "reasoning_effort": field_checks.one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "response_format": constrained_fields.response_format,
    "structured_outputs": constrained_fields.structured_outputs,
    "tool_choice": constrained_fields.tool_choice,
    "tools": constrained_fields.tools,
    "top_logprobs": whole(0, MAX_LOGPROBS),
}
_COMPLETION: Mapping[str, Check] = {
    **_SAMPLING,
    "echo": flag,
    "logprobs": whole(0, MAX_LOGPROBS),
    "prompt": field_checks.prompt,
}
_SET_BY_SERVER = frozenset({"model", "cache_salt", "priority"})
# They change no answer: labels, some of which may name a patient, and hints about price, speed and storage elsewhere.
_IGNORED_CHECKS: Mapping[str, Check] = {
    "metadata": field_checks.labels,
    "modalities": field_checks.text_only,
    "prompt_cache_key": field_checks.anything,
    "prompt_cache_retention": field_checks.anything,
    "safety_identifier": field_checks.anything,
    "service_tier": field_checks.one_of("auto", "default", "flex", "scale", "priority"),
    "store": field_checks.not_stored,
    "user": field_checks.anything,
}
_IGNORED = frozenset(_IGNORED_CHECKS)
WITHOUT_EFFECT = _SET_BY_SERVER | _IGNORED


def chat_fields(
    body: Mapping[str, Any], *, model: str, cache_salt: str, request_id: str, priority: int = 0
) -> dict[str, Any]:
    """Fields of a ``ChatCompletionRequest``. Raises :class:`EngineRefused` (400) for what is not allowed."""
    fields = _allowed(body, _CHAT, required="messages")
    fields["messages"] = message_fields.chat(fields["messages"])
    _check_together(fields, prompts=1)
    fields = constrained(fields)
    said = {"model": model, "cache_salt": cache_salt, "priority": priority, "request_id": request_id}
    return {**_metered(fields), **said}


def chat_constraints(body: Mapping[str, Any]) -> list[Constraint]:
    """The grammars that a chat request asks for. Raises as :func:`chat_fields`."""
    if not any(body.get(name) for name in ("response_format", "structured_outputs", "tools")):
        return []
    return constraints_of(constrained(_allowed(body, _CHAT, required="messages")))


def completion_fields(
    body: Mapping[str, Any], *, model: str, cache_salt: str, request_id: str, priority: int = 0
) -> dict[str, Any]:
    """Fields of a ``CompletionRequest``. Raises :class:`EngineRefused` (400) for what is not allowed."""
    fields = _allowed(body, _COMPLETION, required="prompt")
    _check_together(fields, prompts=prompt_count(fields["prompt"]))
    said = {"model": model, "cache_salt": cache_salt, "priority": priority, "request_id": request_id}
    return {**_metered(fields), **said}


def prompt_count(prompt: str | list[Any]) -> int:
    """How many sequences an allowed ``prompt`` asks for: text or token ids are one, a list of either is one each."""
    return 1 if isinstance(prompt, str) or isinstance(prompt[0], int) else len(prompt)


def _allowed(body: Mapping[str, Any], checks: Mapping[str, Check], *, required: str) -> dict[str, Any]:
    sent = {name: value for name, value in body.items() if name == required or not _is_empty(value)}
    require_known(sent, checks.keys() | _SET_BY_SERVER | _IGNORED)
    if sent.get(required) is None:
        raise refused(required, "is missing")
    fields = {name: sent[name] for name in checks if name in sent}
    for name, value in fields.items():
        checks[name](name, value)
    for name in _IGNORED & sent.keys():
        _IGNORED_CHECKS[name](name, sent[name])
    return fields


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _check_together(fields: Mapping[str, Any], prompts: int) -> None:
    n = fields.get("n", 1)
    if n > 1 and fields.get("temperature") == 0:
        raise refused("n", "above 1 needs a temperature above 0: without one all answers are the same")
    if n * prompts > MAX_CHOICES:
        raise refused("n", f"times the number of prompts may be at most {MAX_CHOICES}")
    if "stream_options" in fields and not fields.get("stream"):
        raise refused("stream_options", "requires stream to be true")
    if fields.get("echo") and "logprobs" in fields:
        # 0 too: vLLM then computes logits for every row of the prompt, with a map of adapters that has one entry for
        # each sequence (vLLM 16668, 29955, 51594). No other allowed field makes it compute them.
        raise refused("logprobs", "cannot be combined with echo: there are none for the tokens of a prompt")


def _metered(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a stream whose last event says how many tokens it has taken, for ``stream_usage``. Each says it
    where the caller wants to see that.
    """
    if not fields.get("stream"):
        return fields
    asked = fields.get("stream_options") or {}
    each = bool(asked.get("include_usage") and asked.get("continuous_usage_stats"))
    return {**fields, "stream_options": {"include_usage": True, "continuous_usage_stats": each}}
