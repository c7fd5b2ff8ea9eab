"""A tenant with an index of a given size, published as the consumer publishes it, and a replica's retrieval over it.

Passages have the words of English as often as a language has them, since what a search by words costs hangs on that.
Only some are embedded by the model; the vectors of the others lie around those. The time of a comparison does not hang
on what is in a vector.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from consumers.knowledge.segmenting import FULL
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.memory_search import MemorySearch
from inference.knowledge.retrieval import Retrieval
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from schemas.objects.state import KnowledgeState
from tenancy.embedding.port import Embedder, Vectors, unit_length
from tenancy.knowledge.published import publish, put_segment
from tenancy.knowledge.search import Searchable
from tenancy.knowledge.segments import Passage, Segment, made, packed
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, onboarded_parts

WORDS = 64
"""Of a passage: some 85 tokens."""
PASSAGES_OF_DOCUMENT = 10
DIFFERENT = 2 * FULL
"""So many passages are drawn; beyond, their texts come again, in other documents and with other vectors."""
VOCABULARY = 30_000
INDEX_BYTES = 2**31
FRAME_CHARACTERS = 4000


def drawn_texts(count: int) -> list[str]:
    import wordfreq

    words = wordfreq.top_n_list("en", VOCABULARY)
    often = np.array([wordfreq.word_frequency(word, "en") for word in words])
    drawn = np.random.default_rng(0).choice(len(words), size=(count, WORDS), p=often / often.sum())
    return [" ".join(words[number] for number in row) for row in drawn]


def spread(embedded: Vectors, count: int) -> Vectors:
    """So many vectors around these."""
    rng = np.random.default_rng(1)
    near = embedded[rng.integers(len(embedded), size=count)]
    noise = rng.standard_normal(size=near.shape, dtype=np.float32)
    return unit_length(near + noise / np.float32(np.sqrt(near.shape[1])))


@dataclass(frozen=True)
class Indexed:
    """The tenant, with what a replica and its consumer need to answer from it and to change it."""

    parts: Parts
    tenant: TenantId
    indexes: LoadedIndexes
    retrieval: Retrieval
    embedder: Embedder

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Searchable]:
        """The index that is published now."""
        async with self.indexes.used(self.tenant, await self.state(), self.store) as index:
            yield index

    async def state(self) -> KnowledgeState:
        found = (await self.parts.tenancy.active(self.tenant)).state.knowledge
        assert found is not None
        return found

    async def store(self) -> TenantStore:
        return await self.parts.tenancy.store(self.tenant)


async def indexed(embedder: Embedder, texts: Sequence[str], vectors: Vectors) -> Indexed:
    """Index passages of these texts and vectors, in documents of :data:`PASSAGES_OF_DOCUMENT`."""
    tenant = TenantId("t1")
    parts = await onboarded_parts(tenant)
    store = await parts.tenancy.store(tenant)
    documents: dict[str, DocumentEntry] = {}
    entries = []
    for segment in _segments(texts, vectors):
        entry = await put_segment(store, 1, packed(segment), embedder.name, len(segment))
        entries.append(entry)
        counted = np.bincount(segment.owners).tolist()
        for (name, version), count in zip(segment.documents, counted, strict=True):
            documents[name] = DocumentEntry(
                version=version,
                status="present",
                event_id="e1",
                title=name,
                effective_from=NOW,
                passages=count,
                segment=entry.digest,
            )
    base = await parts.tenancy.active(tenant)
    held = KnowledgeSet(generation=1, documents=documents, segments=tuple(entries))
    await publish(parts.tenancy.states, store, base, held)

    async def opened() -> Embedder:
        return embedder

    indexes = LoadedIndexes(INDEX_BYTES)
    retrieval = Retrieval(parts.tenancy, MemorySearch(parts.tenancy, indexes), opened, FRAME_CHARACTERS)
    return Indexed(parts, tenant, indexes, retrieval, embedder)


def _segments(texts: Sequence[str], vectors: Vectors) -> Iterator[Segment]:
    """Words are counted once for texts that come again: what is measured is not how an index is made."""
    counted: dict[tuple[int, int], Segment] = {}
    for start in range(0, len(vectors), FULL):
        count = min(FULL, len(vectors) - start)
        first = start % len(texts)
        like = counted.get((first, count))
        if like is None:
            like = counted[first, count] = _made(texts, first, vectors[start : start + count])
        documents = tuple((f"{name}-{start}", version) for name, version in like.documents)
        yield replace(like, documents=documents, vectors=vectors[start : start + count])


def _made(texts: Sequence[str], first: int, vectors: Vectors) -> Segment:
    passages = [
        Passage(f"d{row // PASSAGES_OF_DOCUMENT}", 1, "Formulary > Section", texts[first + row])
        for row in range(len(vectors))
    ]
    return made(passages, vectors)
