"""Defines refusals in the form that OpenAI's clients expect. No message holds anything that the caller sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal


class RequestRefused(Exception):
    """Answered with ``status``, an error object of this code, and these headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


def error_body(status: int, code: str | int, message: str, field: str | None = None) -> dict[str, Any]:
    """OpenAI's error object. ``field`` is the request field at fault, which OpenAI calls ``param``."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": field, "code": code}}


def unauthorized() -> RequestRefused:
    message = "the bearer token or API key is missing, malformed, expired, revoked, or not of this installation"
    return RequestRefused(401, "invalid_token", message)


def no_scope(scope: str) -> RequestRefused:
    return RequestRefused(403, "insufficient_scope", f"this token or API key is not good for {scope}")


def not_active() -> RequestRefused:
    return RequestRefused(403, "tenant_not_active", "this tenant is not served")


def no_such_model() -> RequestRefused:
    """A foreign adapter and a missing one get this same answer."""
    return RequestRefused(404, "model_not_found", "the model does not exist")


def no_such_answer() -> RequestRefused:
    """The same for another tenant's answer, one that nobody got, and one by an adapter that is the tenant's no more."""
    return RequestRefused(404, "answer_not_found", "no answer with this id can be rated")


def cannot_load() -> RequestRefused:
    """Never the base model instead."""
    return RequestRefused(503, "adapter_unavailable", "the adapter cannot be loaded on this replica; try again")


def still_loading() -> RequestRefused:
    return RequestRefused(503, "adapter_unavailable", "the adapter is still being loaded on this replica; try again")


def body_timeout(seconds: float) -> RequestRefused:
    return RequestRefused(408, "body_timeout", f"the request body did not arrive within {seconds:g} s")


def strangers_wait() -> RequestRefused:
    """For a caller who may be anybody: no tenant's key or token was verified yet."""
    message = "too many whom this replica does not know ask at once; try again"
    return RequestRefused(503, "replica_busy", message, {"Retry-After": "1"})


def too_many_requests(limit: int) -> RequestRefused:
    message = f"this replica answers at most {limit} requests of one tenant at once; try again when one has ended"
    return RequestRefused(429, "too_many_requests", message)


def over_rate(of: Literal["requests", "tokens"], seconds: int, headers: Mapping[str, str]) -> RequestRefused:
    message = f"this tenant's {of} a minute are used up; try again in {seconds} s"
    return RequestRefused(429, "rate_limit_exceeded", message, {**headers, "Retry-After": str(seconds)})


def queue_full(limit: int, headers: Mapping[str, str]) -> RequestRefused:
    message = f"{limit} requests of this tenant wait for their turn, the most that may; try again when one has ended"
    return RequestRefused(429, "queue_full", message, headers)


def budget_spent(seconds: int) -> RequestRefused:
    """With OpenAI's own code and status. It lasts until the month is over, and their clients would try 429 again."""
    message = "the tenant's budget of this month is used up; it is raised by the tenant's policy"
    return RequestRefused(429, "insufficient_quota", message, {"x-should-retry": "false", "Retry-After": str(seconds)})


def too_much_unread() -> RequestRefused:
    message = "too much of this tenant's earlier answers has not been read yet; read them, then try again"
    return RequestRefused(429, "answers_unread", message)


def grammars_paused(seconds: float) -> RequestRefused:
    message = f"a grammar of this tenant took too much a moment ago; for {seconds:g} s only known ones are compiled"
    return RequestRefused(429, "grammars_paused", message)


def lease_over() -> RequestRefused:
    message = "this replica's lease has expired; it serves no adapters until the lease is renewed"
    return RequestRefused(503, "replica_fenced", message)


def no_room() -> RequestRefused:
    return RequestRefused(503, "replica_busy", "all adapter slots on this replica are in use; try again")


def restarting() -> RequestRefused:
    message = "this replica's engine has stopped and is being started again; try again"
    return RequestRefused(503, "engine_restarting", message)


def is_suspect() -> RequestRefused:
    message = "the engine stopped while it answered this request; such requests are tried one at a time; try again"
    return RequestRefused(503, "engine_recovering", message)


def ends_engine() -> RequestRefused:
    """With a status that clients do not try again by themselves."""
    message = "the engine stopped twice while it answered this request; do not send it again, or change it"
    return RequestRefused(422, "request_ends_engine", message)


def retrieval_unavailable(seconds: float | None = None) -> RequestRefused:
    """Never an answer without the documents instead. ``seconds``: after which trying again is of use, where known."""
    headers = {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}
    message = "the tenant's documents cannot be searched here; try again"
    return RequestRefused(503, "retrieval_unavailable", message, headers)


def bad_request(message: str) -> RequestRefused:
    return RequestRefused(400, "invalid_request", message)
