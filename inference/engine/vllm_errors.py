"""Translates vLLM's errors to ours. vLLM's texts are never passed on: some repeat the value that they refuse."""

from __future__ import annotations

import json
from typing import Any

from inference.engine.errors import EngineDead, EngineRefused
from inference.errors import RequestRefused, error_body

_TOO_LONG = frozenset({"input_text", "input_tokens", "max_tokens", "max_completion_tokens"})
_ERROR_EVENT = 'data: {"error":'


def refusal(status: int, field: str | None, max_model_len: int) -> EngineRefused:
    """Our sentence for an HTTP status and the parameter that vLLM names, which is a constant of its source."""
    if status == 503:
        return EngineRefused(503, "the engine has no capacity right now; try again")
    if status >= 500:
        return EngineRefused(status, "the engine failed to process this request")
    if field in _TOO_LONG:
        message = f"the prompt with the requested output does not fit the context of {max_model_len} tokens"
        return EngineRefused(status, message, field=field)
    if field is not None and field.isidentifier():
        return EngineRefused(status, f"{field} is not valid for this model", field=field)
    return EngineRefused(status, "the request is not valid for this model")


def refusal_of_exception(error: Exception, max_model_len: int) -> EngineRefused:
    """For what vLLM's serving classes and request models raise. What is not the caller's fault becomes 500."""
    from pydantic import ValidationError
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, EngineRefused):
        return error
    if isinstance(error, EngineDeadError):
        return EngineDead()
    if isinstance(error, ValidationError):
        # Only the first part of the location: deeper parts can be keys that the caller chose.
        location = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        return refusal(400, str(location[0]) if location else None, max_model_len)
    info = create_error_response(error).error
    return refusal(info.code, info.param, max_model_len)


def refusal_of_response(response: Any, max_model_len: int) -> EngineRefused:
    """For vLLM's ``ErrorResponse``."""
    return refusal(response.error.code, response.error.param, max_model_len)


def refusal_of_event(event: str, max_model_len: int) -> EngineRefused | None:
    """For one server-sent event of vLLM: the refusal if it reports an error, else ``None``."""
    if not event.startswith(_ERROR_EVENT):
        return None
    error = json.loads(event.removeprefix("data: "))["error"]
    return refusal(error["code"], error.get("param"), max_model_len)


def error_events(error: EngineRefused | RequestRefused) -> tuple[bytes, bytes]:
    """How a stream ends on a refusal: the error in OpenAI's form, and the end mark."""
    field = error.field if isinstance(error, EngineRefused) else None
    body = error_body(error.status, error.status, error.message, field)
    return b"data: " + json.dumps(body).encode() + b"\n\n", b"data: [DONE]\n\n"
