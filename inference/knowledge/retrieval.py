"""Retrieves for a chat request: what it or its tenant's policy asks for, the passages, and what the answer cites."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from inference.engine import message_fields
from inference.engine.errors import EngineRefused
from inference.errors import retrieval_unavailable
from inference.knowledge.port import IndexNotReady, PassageSearch
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.timestamps import Timestamp
from schemas.objects.state import KnowledgeState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.embedding.port import Embedded, Embedder, TextTooLong
from tenancy.errors import ObjectNotFound, Refused, Transient
from tenancy.knowledge.database.settings import no_database
from tenancy.knowledge.frame import framed, question_at
from tenancy.knowledge.search import Found, Question
from tenancy.platform.concurrency import OneOfEach
from tenancy.platform.logs import SCOPE
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

QUERY_CHARACTERS = 800
MAX_PASSAGES = 20
FIELD = "retrieval"
WRITTEN_CHARACTERS = 2**15
"""Bounds the field as JSON, since each unknown name in it makes an error. A hundred documents' ids take half."""
NO_SUPPORT = "No document of this organisation supports an answer to this question."
"""What is answered by policy in the place of the model."""

EmbedderSource = Callable[[], Awaitable[Embedder | None]]
OnSearched = Callable[[TenantId, int], None]


class Filter(Contract):
    """Which documents may be cited."""

    document_ids: tuple[OpaqueId, ...] | None = Field(default=None, max_length=100)
    effective_at: Timestamp | None = None


class Wanted(Contract):
    """The ``retrieval`` field of a request."""

    top_k: int | None = Field(default=None, ge=0, le=MAX_PASSAGES)
    filter: Filter = Filter()


@dataclass(frozen=True)
class Retrieved:
    """What was retrieved for one request, and the request as the engine is asked it."""

    body: dict[str, Any]
    found: tuple[Found, ...]
    titles: Mapping[str, str]
    is_declined: bool

    def told(self) -> dict[str, Any]:
        """The ``retrieval`` field of the answer."""
        citations = [
            {
                "number": number,
                "document_id": one.passage.document_id,
                "version": one.passage.version,
                "title": self.titles[one.passage.document_id],
                "path": one.passage.path,
                "passage": one.passage.text,
                "score": round(one.score, 6),
                "similarity": None if one.similarity is None else round(one.similarity, 4),
            }
            for number, one in enumerate(self.found, 1)
        ]
        return {"supported": bool(citations), "citations": citations}


@dataclass(frozen=True)
class Retrieval:
    """Retrieves for verified tenants. ``frame_characters``: of passages in one prompt. ``database``: searches for
    tenants whose policy keeps their index there; None where the installation has none. ``on_searched`` is told of each
    question, and of its tokens.

    A tenant has one question at a time at the embedder, which computes in the order of asking: its others wait here,
    and another tenant's does not wait for them.
    """

    tenancy: Tenancy
    passages: PassageSearch
    embedder: EmbedderSource
    frame_characters: int
    database: PassageSearch | None = None
    on_searched: OnSearched = lambda tenant, tokens: None
    _one: OneOfEach = field(default_factory=OneOfEach)

    async def applied(
        self, tenant: TenantId, policy: TenantPolicy, knowledge: KnowledgeState | None, body: Mapping[str, Any]
    ) -> Retrieved | None:
        """The request with its passages; None where nothing is to be retrieved.

        Raises :class:`EngineRefused` (400) for a wrong ``retrieval`` field or wrong messages, and
        :class:`RequestRefused` (503) where the tenant's documents cannot be searched here: no answer is given without
        them where they are asked for.
        """
        wanted = _wanted(body)
        top_k = _top_k(wanted, policy)
        plain = {name: value for name, value in body.items() if name != FIELD}
        nothing = None if FIELD not in body else Retrieved(plain, (), {}, is_declined=False)
        if not top_k:
            return nothing
        messages = message_fields.chat(plain.get("messages"))
        at, query = _question(messages)
        if query is None:
            return nothing
        found, titles = await self._found(
            tenant, policy, knowledge, query, top_k, wanted.filter if wanted else Filter()
        )
        if not found:
            declined = policy.unsupported_answers == "declined"
            return Retrieved(plain, (), {}, is_declined=declined)
        asked, taken = framed(messages, at, found, self.frame_characters)
        return Retrieved({**plain, "messages": asked}, tuple(taken), titles, is_declined=False)

    async def _found(
        self,
        tenant: TenantId,
        policy: TenantPolicy,
        knowledge: KnowledgeState | None,
        query: str,
        top_k: int,
        wanted: Filter,
    ) -> tuple[list[Found], Mapping[str, str]]:
        if knowledge is None or not knowledge.passages:
            return [], {}
        try:
            embedder = await self.embedder()
            if embedder is None:
                raise retrieval_unavailable()
            async with self._one.of(tenant):
                embedded = await _embedded(query, embedder)
            self.on_searched(tenant, embedded.tokens)
            at = wanted.effective_at or self.tenancy.clock()
            ids = None if wanted.document_ids is None else frozenset(wanted.document_ids)
            question = Question(query, embedded.vectors[0], embedder.name, at, top_k, ids)
            searched = await self._index(policy).search(tenant, knowledge, question)
        except IndexNotReady as error:
            logger.warning("documents not searched", extra={"reason": error.reason})
            raise retrieval_unavailable(error.seconds) from None
        except (Refused, Transient, ObjectNotFound) as error:
            reason = error.code if isinstance(error, Refused) else "out-of-reach"
            logger.warning("documents not searched", extra={"reason": reason})
            raise retrieval_unavailable() from None
        least = policy.retrieval_min_similarity
        return [one for one in searched.found if one.supports(least)], searched.titles

    def _index(self, policy: TenantPolicy) -> PassageSearch:
        """Raises :class:`Refused`."""
        if policy.knowledge_index == "memory":
            return self.passages
        if self.database is None:
            raise no_database()
        return self.database


async def _embedded(query: str, embedder: Embedder) -> Embedded:
    """The query, embedded; of one that is too long, of its end, where the question mostly stands."""
    while True:
        try:
            return await embedder.embed([query], "query")
        except TextTooLong:
            if len(query) < 2:
                raise
            query = query[len(query) // 2 :]


def asks_for_documents(body: Mapping[str, Any]) -> bool:
    """Whether the request asks for passages itself, also where the field is wrong. ``"top_k": 0`` asks for none."""
    given = body.get(FIELD)
    return given is not None and not (isinstance(given, dict) and given.get("top_k") == 0)


def _wanted(body: Mapping[str, Any]) -> Wanted | None:
    """What the request asks for; None where it does not say."""
    given = body.get(FIELD)
    if given is None:
        return None
    written = json.dumps(given)
    if len(written) > WRITTEN_CHARACTERS:
        raise _not_as_documented(FIELD)
    try:
        return Wanted.model_validate_json(written, strict=True)
    except ValidationError as error:
        place = ".".join([FIELD, *(str(part) for part in error.errors()[0]["loc"] if part in _NAMES)])
        raise _not_as_documented(place) from None


def _not_as_documented(place: str) -> EngineRefused:
    return EngineRefused(400, f"{place} must be as documented: top_k from 0 to {MAX_PASSAGES}, and filter", field=place)


_NAMES = frozenset({*Wanted.model_fields, *Filter.model_fields})


def _top_k(wanted: Wanted | None, policy: TenantPolicy) -> int:
    if wanted is None:
        return policy.retrieval_passages if policy.retrieval else 0
    return policy.retrieval_passages if wanted.top_k is None else wanted.top_k


def _question(messages: Sequence[Mapping[str, Any]]) -> tuple[int, str | None]:
    """Where the last message of the user stands, and its end; None where there is none, or nothing to search for."""
    at = question_at([message["role"] for message in messages])
    if at is None:
        return 0, None
    return at, str(messages[at]["content"]).strip()[-QUERY_CHARACTERS:] or None
