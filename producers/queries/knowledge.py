"""Looks at a tenant's documents as they are retrieved now."""

from __future__ import annotations

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.timestamps import Timestamp
from tenancy.bootstrap import Tenancy
from tenancy.embedding.port import Embedder
from tenancy.knowledge.published import read_segment, read_set
from tenancy.knowledge.search import Question, Searchable
from tenancy.knowledge.segments import unpacked
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class DocumentView(Contract):
    """One document that can be cited. ``is_effective``: whether it may be cited now."""

    document_id: OpaqueId
    version: int
    title: str
    passages: int
    effective_from: Timestamp | None
    effective_until: Timestamp | None
    is_effective: bool


async def documents(tenancy: Tenancy, tenant: TenantId) -> list[DocumentView]:
    """In the order of their ids. Raises UnknownTenant and TenantFenced."""
    state = (await tenancy.active(tenant)).state
    held = await read_set(await tenancy.store(tenant), state.knowledge)
    now = tenancy.clock()
    return [
        DocumentView(
            document_id=document_id,
            version=entry.version,
            title=entry.title,
            passages=entry.passages,
            effective_from=entry.effective_from,
            effective_until=entry.effective_until,
            is_effective=entry.is_effective(now),
        )
        for document_id, entry in sorted(held.documents.items())
        if entry.status == "present"
    ]


class FoundPassage(Contract):
    """One passage that answers to a question would be given from."""

    document_id: OpaqueId
    version: int
    path: str
    text: str
    score: float
    similarity: float | None


async def search_documents(
    tenancy: Tenancy, tenant: TenantId, query: str, embedder: Embedder, *, top_k: int | None = None
) -> list[FoundPassage]:
    """The passages of documents that are in force which the policy gives an answer from, best first; ``top_k`` of them
    at most, where it is not the policy that says how many. Raises as :func:`documents`.
    """
    state = (await tenancy.active(tenant)).state
    store = await tenancy.store(tenant)
    held = await read_set(store, state.knowledge)
    bodies = await gathered(read_segment(store, entry) for entry in held.segments)
    vector = (await embedder.embed([query], "query")).vectors[0]
    question = Question(query, vector, embedder.name, tenancy.clock(), top_k or state.policy.retrieval_passages)
    found = Searchable.of(held, list(map(unpacked, bodies))).search(question)
    return [
        FoundPassage(
            document_id=one.passage.document_id,
            version=one.passage.version,
            path=one.passage.path,
            text=one.passage.text,
            score=one.score,
            similarity=one.similarity,
        )
        for one in found
        if one.supports(state.policy.retrieval_min_similarity)
    ]
