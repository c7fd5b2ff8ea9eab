"""Handles documents: the highest version counts and, of one version, the removal.

Each handling reads the tenant's set, makes the next one, and publishes it by one swap of the state. It writes contents,
segments and set, swaps, then erases what the set does not name, from the tenant's index in the database too. A
redelivered event is in the set already and only erases. A document is replaced as a whole: no segment of the new set
has passages of its old version.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumers.knowledge.chunks import passages_of
from consumers.knowledge.embedding import embedded, required
from consumers.knowledge.ports import KnowledgePorts
from consumers.knowledge.segmenting import to_join, touched
from schemas.bus.content import ChatMessage, DocumentClaimCheck, DocumentContent
from schemas.bus.envelope import Event
from schemas.bus.events import DocumentRemoved, DocumentUpserted, UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import GateVerdict, gate_version
from schemas.objects import object_keys
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet, SegmentEntry
from schemas.objects.state import TenantState
from schemas.objects.usage import INDEX_REPORTER, Report, day_of
from tenancy.errors import Contradicted
from tenancy.knowledge.database.filling import Filling
from tenancy.knowledge.database.settings import no_database
from tenancy.knowledge.published import erase_unnamed, publish, put_segment, read_segment, read_set
from tenancy.knowledge.segments import Passage, Segment, made, merged, packed, unpacked
from tenancy.lifecycle.contents import received, seal_once
from tenancy.lifecycle.terms import tenant_terms
from tenancy.platform.concurrency import gathered
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.judging import found_clean
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.tenant_store import TenantStore

RUN_PASSAGES = 64
"""So many new passages one handling takes, beside those of its first document: seconds of embedding."""


@dataclass
class _Draft:
    """The next set, as far as the events of a run have changed it."""

    held: KnowledgeSet
    documents: dict[str, DocumentEntry] = field(init=False)
    passages: dict[str, list[Passage]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.documents = dict(self.held.documents)

    def enter(self, document_id: str, entry: DocumentEntry) -> None:
        """Have this count from the next set on."""
        self.documents[document_id] = entry.evolve(generation=self.held.generation + 1)
        self.changed.add(document_id)

    def count(self) -> int:
        return sum(map(len, self.passages.values()))


async def on_document(event: Event[DocumentUpserted | DocumentRemoved], ports: KnowledgePorts) -> Outcome:
    """Index the document, or take it out of the index."""
    return (await on_documents([event], ports))[0]


async def on_documents(
    run: Sequence[Event[DocumentUpserted | DocumentRemoved]], ports: KnowledgePorts
) -> list[Outcome]:
    """Handle the first events of a run of one tenant, as many as one handling has time for, by one swap."""
    work = await ports.tenancy.begin(run[0])
    store, before, following = work.store, work.state.knowledge, _following(work.state, ports)
    draft = _Draft(await read_set(store, before))
    outcomes: list[Outcome] = []
    for event in run:
        if outcomes and draft.count() > RUN_PASSAGES:
            break
        data = event.data
        if isinstance(data, DocumentRemoved):
            outcomes.append(_removed(data, event, draft))
        else:
            outcomes.append(await _upserted(data, event, draft, store, ports.gate))
    held, state = draft.held, before
    if draft.changed:
        held, tokens = await _next(draft, store, ports)
        await _metered(work, held.generation, tokens)
        state = (await publish(work.outbox.states, store, work.snapshot, held)).state.knowledge
    if state is not None:
        ids = {event.data.document_id for event in run[: len(outcomes)]}
        if before is not None and before.keeps_removed and not state.keeps_removed:
            ids = set(held.documents)  # a legal hold was released since, and what it kept goes too
        await erase_unnamed(store, state, held, ids)
    if following is not None:
        await following.follow(store.tenant)  # what was removed has left it, or the events are handled again
    return outcomes


def _following(state: TenantState, ports: KnowledgePorts) -> Filling | None:
    """Fills the tenant's index in the database; None where its policy keeps none there. Raises :class:`Refused` where
    the installation has no database.
    """
    if state.policy.knowledge_index == "memory":
        return None
    if ports.database is None:
        raise no_database()
    return Filling(ports.database, ports.tenancy.states, ports.tenancy.store)


def _removed(data: DocumentRemoved, event: Event[DocumentUpserted | DocumentRemoved], draft: _Draft) -> Outcome:
    entry = draft.documents.get(data.document_id)
    if entry is not None:
        if entry.version > data.version:
            return Outcome.NOOP_STALE
        if entry.status == "removed" and entry.version == data.version:
            return Outcome.NOOP_DUPLICATE
    removed = DocumentEntry(version=data.version, status="removed", event_id=event.id, since=event.time)
    draft.enter(data.document_id, removed)
    draft.passages.pop(data.document_id, None)
    return Outcome.EFFECT


async def _upserted(
    data: DocumentUpserted,
    event: Event[DocumentUpserted | DocumentRemoved],
    draft: _Draft,
    store: TenantStore,
    gate: GateSource,
) -> Outcome:
    entry = draft.documents.get(data.document_id)
    if entry is not None and entry.version >= data.version:
        if entry.event_id != event.id:
            return Outcome.NOOP_STALE
        said = entry.commitment, entry.effective_from, entry.effective_until
        if said != (data.content.commitment, data.effective_from, data.effective_until):
            raise Contradicted
        return Outcome.NOOP_DUPLICATE
    content, judged = await _received(data, store, gate)
    passages = passages_of(data.document_id, data.version, content)
    entry = DocumentEntry(
        version=data.version,
        status="present",
        event_id=event.id,
        title=content.title,
        commitment=data.content.commitment,
        gate=judged and gate_version(judged),
        since=event.time,
        effective_from=data.effective_from,
        effective_until=data.effective_until,
    )
    draft.enter(data.document_id, entry)
    draft.passages[data.document_id] = passages
    return Outcome.EFFECT


async def _received(
    data: DocumentUpserted, store: TenantStore, gate: GateSource
) -> tuple[DocumentContent, GateVerdict | None]:
    """The content, sealed where its version lies, and what a gate said of it. What comes inline is judged by ours
    before, unless an operator states that nobody can be identified by it. Raises :class:`Refused`."""
    location = object_keys.document(data.document_id, data.version)
    own = DocumentClaimCheck(document_id=data.document_id, version=data.version)
    said = "the publisher committed to"
    content = await received(store, location, DocumentContent, data.content, own, otherwise=said)
    judged = data.gate
    if data.content.reference == own:
        return content, judged
    if data.stated_by is None:
        texts = [content.title, *(block.text for block in content.blocks)]
        messages = [ChatMessage(role="user", content=text) for text in texts]
        judged = GateVerdict.of(await found_clean(gate, messages, await tenant_terms(store)))
    await seal_once(store, location, content)
    return content, judged


async def _metered(work: TenantWork, generation: int, tokens: int) -> None:
    """Publish the usage ahead of the set, under its generation: a redelivery publishes the same event again. Raises
    :class:`BusUnavailable`.
    """
    if not tokens:
        return
    now = work.outbox.clock()
    report = Report(day_of(now), INDEX_REPORTER, generation)
    data = UsageRecorded(usage_id=report.usage_id, source="knowledge", embedding_tokens=tokens)
    await work.outbox.publish(work.tenant, data, time=now)


async def _next(draft: _Draft, store: TenantStore, ports: KnowledgePorts) -> tuple[KnowledgeSet, int]:
    """The set of the next generation, whose segments lie sealed, and how many tokens were embedded for it. Vectors of
    what stays are not made again.
    """
    held, generation = draft.held, draft.held.generation + 1
    losing = touched(held.segments, held.documents, draft.changed)
    rest = [segment for segment in held.segments if segment not in losing]
    joined: list[SegmentEntry] = []
    tokens = 0
    groups: list[tuple[str, list[SegmentEntry], Segment | None]] = [(one.embedder, [one], None) for one in losing]
    if draft.passages:
        embedder = await required(ports.embedder)
        fresh, found = await embedded([p for passages in draft.passages.values() for p in passages], embedder)
        joined, tokens = to_join(rest, embedder.name, len(fresh)), found.tokens
        groups.append((embedder.name, joined, await asyncio.to_thread(made, fresh, found.vectors)))
    written: list[tuple[SegmentEntry, Segment]] = []
    for name, group, added in groups:
        bodies = await gathered(read_segment(store, entry) for entry in group)
        segment, body = await asyncio.to_thread(_written, bodies, draft.changed, added)
        if segment is not None:
            written.append((await put_segment(store, generation, body, name, len(segment)), segment))
    kept = [segment for segment in rest if segment not in joined]
    segments = (*kept, *(entry for entry, _ in written))
    documents = _placed(draft.documents, written)
    return KnowledgeSet(generation=generation, documents=documents, segments=segments), tokens


def _written(bodies: Sequence[bytes], without: set[str], added: Segment | None) -> tuple[Segment | None, bytes]:
    """One segment of what these hold beside the documents that changed, and of what is added; and its bundle."""
    kept = merged([unpacked(body) for body in bodies], without)
    parts = [part for part in (kept, added) if part is not None]
    segment = merged(parts) if len(parts) > 1 else next(iter(parts), None)
    return segment, b"" if segment is None else packed(segment)


def _placed(
    documents: dict[str, DocumentEntry], written: Sequence[tuple[SegmentEntry, Segment]]
) -> dict[str, DocumentEntry]:
    placed = dict(documents)
    for entry, segment in written:
        counts = Counter(segment.owners.tolist())
        for number, (document_id, _) in enumerate(segment.documents):
            placed[document_id] = placed[document_id].evolve(segment=entry.digest, passages=counts[number])
    return placed
