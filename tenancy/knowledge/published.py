"""Reads and publishes the set of a tenant's documents and segments, and erases what no set names any more.

The order is contents, segments, set, then the swap that publishes it. Whatever a process that died left before its swap
is of a generation that can never be published any more once another one was, and is erased by whoever comes next.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.knowledge import KnowledgeSet, SegmentEntry
from schemas.objects.state import KnowledgeState, TenantState
from tenancy.errors import ContendedState, PreconditionFailed, SealBroken
from tenancy.platform.concurrency import gathered
from tenancy.state.legal_holds import open_holds
from tenancy.state.registry import Change, Snapshot, StateRegistry, require_active
from tenancy.storage.tenant_store import TenantStore


async def read_set(store: TenantStore, state: KnowledgeState | None) -> KnowledgeSet:
    """The set that the state names; an empty one where it names none. Raises :class:`SealBroken` for another one."""
    if state is None:
        return KnowledgeSet()
    body, _ = await store.get(object_keys.knowledge_set(state.generation, state.digest))
    if hashlib.sha256(body).hexdigest() != state.digest:
        raise SealBroken("it is not the set that the state names")
    return read_tolerant(KnowledgeSet, body)


async def put_segment(store: TenantStore, generation: int, body: bytes, embedder: str, passages: int) -> SegmentEntry:
    """Seal a segment of the generation that is being made. Nobody sees it before the set is published."""
    digest = hashlib.sha256(body).hexdigest()
    with suppress(PreconditionFailed):  # an earlier delivery made the same
        await store.put(object_keys.segment(generation, digest), body, if_absent=True)
    return SegmentEntry(
        generation=generation, digest=digest, embedder=embedder, passages=passages, size_bytes=len(body)
    )


async def read_segment(store: TenantStore, entry: SegmentEntry) -> bytes:
    """Raises :class:`SealBroken` where it is not what the set names."""
    body, _ = await store.get(object_keys.segment(entry.generation, entry.digest))
    if hashlib.sha256(body).hexdigest() != entry.digest:
        raise SealBroken("it is not the segment that the set names")
    return body


async def publish(states: StateRegistry, store: TenantStore, base: Snapshot, made: KnowledgeSet) -> Snapshot:
    """Put ``made`` in the place of the set that ``base`` names, by one swap.

    Raises :class:`ContendedState` where another process published meanwhile, and :class:`TenantFenced`.
    """
    body = made.model_dump_json().encode()
    digest = hashlib.sha256(body).hexdigest()
    with suppress(PreconditionFailed):
        await store.put(object_keys.knowledge_set(made.generation, digest), body, if_absent=True)
    present = [entry for entry in made.documents.values() if entry.status == "present"]
    named = KnowledgeState(
        generation=made.generation,
        digest=digest,
        documents=len(present),
        passages=sum(entry.passages for entry in present),
        size_bytes=sum(segment.size_bytes for segment in made.segments),
    )
    return await states.swap(store.tenant, _published(base.state.knowledge, named), base=base)


def _published(seen: KnowledgeState | None, named: KnowledgeState) -> Change:
    def change(state: TenantState) -> TenantState:
        if require_active(state).knowledge != seen:
            raise ContendedState("another process published documents of the tenant meanwhile")
        return state.evolve(knowledge=named.evolve(keeps_removed=bool(open_holds(state))))

    return change


async def erase_unnamed(store: TenantStore, state: KnowledgeState, held: KnowledgeSet, ids: Collection[str]) -> None:
    """Erase what the published set does not name: sets, segments, and texts of these documents that were replaced or
    removed. Under a legal hold that was open at the publication the texts stay: no set names them, and nothing reads
    them; ``ids`` that come after its release take them along.

    A later version of a document may be uploaded already, ahead of its event, and stays.
    """
    named = {object_keys.knowledge_set(state.generation, state.digest)}
    named |= {object_keys.segment(entry.generation, entry.digest) for entry in held.segments}
    doomed = []
    for folder in ("segments", "sets"):
        async for relative in store.list("knowledge", folder):
            generation = object_keys.generation_of(relative)
            if generation is not None and generation <= state.generation and relative not in named:
                doomed.append(relative)
    if not state.keeps_removed:
        for document_id in ids:
            doomed += [name async for name in _without_use(store, held, document_id)]
    await gathered(store.erase(relative) for relative in doomed)


async def _without_use(store: TenantStore, held: KnowledgeSet, document_id: str) -> AsyncIterator[str]:
    """Texts of versions of a document that were replaced or removed."""
    entry = held.documents.get(document_id)
    last = 0 if entry is None else entry.version - (entry.status == "present")
    async for relative in store.list("knowledge", "documents", document_id):
        if int(relative.rpartition("/")[2]) <= last:
            yield relative
