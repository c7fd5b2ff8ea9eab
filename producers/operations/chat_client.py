"""Asks the serving API one question, as the tenant's own applications do."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from schemas.base.contract import Contract
from schemas.serving_api import ADAPTER_HEADER
from tenancy.errors import Refused, Transient

CONNECT_SECONDS = 5.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Answer(Contract):
    """What came back. ``adapter`` is the digest that answered, or ``base``."""

    text: str
    adapter: str
    prompt_tokens: int
    completion_tokens: int


class InferenceUnavailable(Transient):
    """The serving API did not answer, or cannot serve this tenant's adapter now."""


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage


async def ask(
    inference_url: str,
    token: str,
    question: str,
    *,
    model: str = "active",
    max_tokens: int = 128,
    timeout_seconds: float = 120.0,
) -> Answer:
    """Ask greedily (temperature 0), so that the same adapter gives the same answer.

    Raises :class:`InferenceUnavailable` and, for an answer of 4xx, :class:`Refused` with the server's own words.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    is_local = urlsplit(inference_url).hostname in LOOPBACK
    timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
    try:
        # A proxy of the environment is for the world outside; it would get the local question and token.
        async with httpx.AsyncClient(timeout=timeout, trust_env=not is_local) as client:
            answer = await client.post(
                f"{inference_url.rstrip('/')}/v1/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )
    except httpx.HTTPError as error:
        raise InferenceUnavailable(f"{inference_url} did not answer ({type(error).__name__})") from None
    if answer.status_code >= 500 or answer.status_code == 429:
        raise InferenceUnavailable(f"{inference_url} answered {answer.status_code}: {_reason(answer)}")
    if answer.status_code != 200:
        raise Refused("inference-refused", f"refused: inference answered {answer.status_code}: {_reason(answer)}")
    try:
        completion = _Completion.model_validate_json(answer.content)
    except ValidationError:
        raise Refused("not-an-answer", f"refused: {inference_url} is not an OpenAI-compatible API") from None
    return Answer(
        text=completion.choices[0].message.content,
        adapter=answer.headers.get(ADAPTER_HEADER, "unknown"),
        prompt_tokens=completion.usage.prompt_tokens,
        completion_tokens=completion.usage.completion_tokens,
    )


def _reason(answer: httpx.Response) -> str:
    """The server's message, which carries no content, in one line."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return " ".join(str(message).split())[:200]
