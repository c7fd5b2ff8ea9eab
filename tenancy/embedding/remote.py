"""Embeds by a service that answers ``POST /embeddings`` as OpenAI does. The texts leave this process to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from tenancy.embedding.port import Embedded, EmbedderUnavailable, TextKind, TextTooLong, Vectors, unit_length
from tenancy.embedding.prompts import Prompts, kept_digest
from tenancy.errors import Refused

BATCH = 64
UNAVAILABLE = frozenset({408, 409, 425, 429})


class RemoteEmbedder:
    """``dimensions`` is what the service's vectors have; an answer with others is refused. The service takes text
    alone, so what it should read before a text of some kind is sent as a part of it.
    """

    def __init__(self, client: httpx.AsyncClient, *, model: str, dimensions: int, prompts: Prompts) -> None:
        self._client = client
        self._model = model
        self._dimensions = dimensions
        self._prompts = prompts

    @classmethod
    def connect(
        cls, url: str, *, model: str, dimensions: int, prompts: Prompts, api_key: str | None, timeout_seconds: float
    ) -> RemoteEmbedder:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # No redirects, which would carry the texts to whatever host an answer names.
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_seconds, follow_redirects=False)
        return cls(client, model=model, dimensions=dimensions, prompts=prompts)

    @property
    def name(self) -> str:
        prompted = kept_digest(self._prompts)
        return f"{self._model}/{self._dimensions}" + (f"/prompted-{prompted[:16]}" if prompted else "")

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embedded:
        """See the port. A text that is too long is known by the service's answer only, for its batch as a whole."""
        prompt = self._prompts.get(kind, "")
        vectors, tokens = [np.zeros((0, self._dimensions), np.float32)], 0
        for start in range(0, len(texts), BATCH):
            found, counted = await self._batch([prompt + text for text in texts[start : start + BATCH]])
            vectors.append(found)
            tokens += counted
        return Embedded(np.concatenate(vectors), tokens)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _batch(self, texts: list[str]) -> tuple[Vectors, int]:
        asked = {"model": self._model, "input": texts, "encoding_format": "float"}
        try:
            answer = await self._client.post("embeddings", json=asked)
        except httpx.HTTPError as error:
            raise EmbedderUnavailable(f"the embedder did not answer ({type(error).__name__})") from None
        status = answer.status_code
        if status >= 500 or status in UNAVAILABLE:
            raise EmbedderUnavailable(f"the embedder answered {status}")
        if status in (400, 413, 422):
            raise TextTooLong(None, None) if _says_too_long(answer) else _refused(status)
        if status != 200:
            raise _refused(status)
        return self._read(answer, len(texts))

    def _read(self, answer: httpx.Response, count: int) -> tuple[Vectors, int]:
        try:
            body: dict[str, Any] = answer.json()
            rows = sorted(body["data"], key=lambda row: int(row["index"]))
            vectors = np.array([row["embedding"] for row in rows], np.float32)
            tokens = int(body.get("usage", {}).get("prompt_tokens", 0))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _misanswered() from None
        if vectors.shape != (count, self._dimensions) or not math.isfinite(float(np.abs(vectors).sum())):
            raise _misanswered()
        return unit_length(vectors), max(0, tokens)


def _says_too_long(answer: httpx.Response) -> bool:
    """vLLM and OpenAI say 400 for it, and name the context in words; other services say 413."""
    said = answer.text[:4096].lower()
    return answer.status_code == 413 or any(words in said for words in ("maximum context", "too long", "max_tokens"))


def _refused(status: int) -> Refused:
    return Refused("embedder-refused", f"refused: the embedder answered {status}; see SANO_EMBEDDER_URL and its key")


def _misanswered() -> Refused:
    why = "refused: the embedder did not answer with one finite vector of SANO_EMBEDDER_DIMENSIONS for each text"
    return Refused("embedder-misanswered", why)
