"""Answers ``POST /v1/embeddings``: OpenAI's shape, by the embedder that also indexes the tenants' documents."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.api.sizes import CHARACTERS_PER_TOKEN
from inference.engine.errors import EngineRefused
from inference.engine.field_checks import anything, one_of, refused, require_known, text, whole
from inference.errors import RequestRefused, no_such_model
from inference.tenants.binding import TenantStateCache
from inference.tenants.turns import Turns
from inference.tenants.usage import UsageMeter
from tenancy.embedding.port import Embedded, Embedder, TextKind, TextTooLong, Vectors
from tenancy.errors import Refused, Transient
from tenancy.platform.concurrency import OneOfEach
from tenancy.platform.logs import SCOPE
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

MAX_INPUTS = 256
"""Some seconds of a core with a small model. OpenAI takes 2,048; clients send lists of their own choice."""
MAX_CHARACTERS = 32_768
EMBEDDER = "embedder"
"""The model's name for a caller who does not know which one it is."""
FIELDS = frozenset({"input", "model", "encoding_format", "dimensions", "input_type", "user"})


@dataclass
class Embeddings:
    """``embedder`` opens it with the first request. A tenant has one request at a time at the embedder, which computes
    batch by batch in the order of asking: a tenant's many texts delay another by a batch of each.
    """

    embedder: Callable[[], Awaitable[Embedder | None]]
    views: TenantStateCache
    meter: UsageMeter
    turns: Turns
    _one: OneOfEach = field(default_factory=OneOfEach)

    async def answer(self, tenant: TenantId, body: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The answer, and headers that tell of the tenant's rates.

        Raises :class:`RequestRefused` and :class:`EngineRefused`.
        """
        policy = (await self.views.spending(tenant)).policy
        texts, kind, encoding = asked_for(body)
        self.turns.rates.admit(tenant, policy)
        embedder = await self.embedder()
        if embedder is None:
            raise RequestRefused(404, "no_embedder", "this installation has no embedder")
        _require_own(body, embedder)
        async with self._one.of(tenant):
            self.views.require_admitted(tenant)
            try:
                embedded = await _embedded(embedder, texts, kind)
            except asyncio.CancelledError:
                # Its caller has left. Nobody counts what was computed until then: it takes what all of it may have had.
                self.turns.rates.take(tenant, sum(map(len, texts)) // CHARACTERS_PER_TOKEN)
                raise
        self.meter.embedded(tenant, embedded.tokens)
        self.turns.rates.take(tenant, embedded.tokens)
        self.views.require_admitted(tenant)
        usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
        rows = _rows(embedded.vectors, encoding)
        made = {"object": "list", "data": rows, "model": embedder.name, "usage": usage}
        return made, self.turns.rates.headers(tenant, policy)


def asked_for(body: Mapping[str, Any]) -> tuple[list[str], TextKind, str]:
    """The texts of an allowed body, what they are, and the encoding. Raises :class:`EngineRefused` (400)."""
    sent = {name: value for name, value in body.items() if value is not None and (name == "input" or value != {})}
    require_known(sent, FIELDS)
    encoding = sent.get("encoding_format", "float")
    one_of("float", "base64")("encoding_format", encoding)
    if "input_type" in sent:
        one_of("query", "passage")("input_type", sent["input_type"])
    anything("user", sent.get("user"))
    if "dimensions" in sent:
        whole(1, 65_536)("dimensions", sent["dimensions"])
    return _texts(sent.get("input")), sent.get("input_type", "plain"), encoding


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_INPUTS:
        raise refused("input", f"must be a string, or a list of 1 to {MAX_INPUTS} strings")
    if any(isinstance(each, int | list) for each in texts):
        raise refused("input", "must be text: token ids of another model mean nothing to this one")
    for each in texts:
        text("input", each)
        if not 0 < len(each) <= MAX_CHARACTERS:
            raise refused("input", f"must be of 1 to {MAX_CHARACTERS} characters each")
    return texts


def _require_own(body: Mapping[str, Any], embedder: Embedder) -> None:
    if body.get("model") not in (None, EMBEDDER, embedder.name):
        raise no_such_model()
    if body.get("dimensions") not in (None, embedder.dimensions):
        raise refused("dimensions", f"can only be {embedder.dimensions}: this embedder's vectors are not shortened")


async def _embedded(embedder: Embedder, texts: list[str], kind: TextKind) -> Embedded:
    try:
        return await embedder.embed(texts, kind)
    except TextTooLong as error:
        limit = "" if error.longest is None else f" of {error.longest} tokens"
        where = "input" if error.position is None else f"input[{error.position}]"
        raise EngineRefused(400, f"{where} is longer than the embedder's context{limit}", field="input") from None
    except (Transient, Refused) as error:
        reason = error.code if isinstance(error, Refused) else "unavailable"
        logger.error("embedder failed", extra={"reason": reason})
        raise RequestRefused(503, "embedder_unavailable", "the embedder does not answer; try again") from None


def _rows(vectors: Vectors, encoding: str) -> list[dict[str, Any]]:
    made = (
        [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
        if encoding == "base64"
        else vectors.tolist()
    )
    return [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(made)]
