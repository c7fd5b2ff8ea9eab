"""Traces a tenant's documents: which event said each version and what judged it, and which segment has it.

What was said is told by the audit log, what counts and where it lies by the published set, and which texts are at rest
by their names. No title and no text is read out of any.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName
from schemas.bus.envelope import event_id
from schemas.bus.events import DocumentRemoved, DocumentUpserted
from schemas.evidence.audit import REFUSED, AuditEntry
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from schemas.objects.state import KnowledgeState
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.knowledge.published import read_set
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

Said = Literal["upserted", "removed"]
Standing = Literal["counts", "over", "refused", "pending"]
_SAID: dict[str, Said] = {DocumentUpserted.type: "upserted", DocumentRemoved.type: "removed"}
_Told = tuple[int, bool]
"""A version and whether it was removed: of one version the removal is the later word."""
LATEST_VERSIONS = 20
"""Numbers up to the highest known one that are looked up in the audit log: it costs the same however long that is."""
NEXT_VERSIONS = 5
"""Numbers after it that are looked up too: a version that was refused, or came inline and is pending, has no text."""


class HeldVersion(Contract):
    """A version of a document, and how many passages of it a segment holds."""

    document_id: OpaqueId
    version: int
    passages: int
    segment: Sha256Hex


class SaidVersion(Contract):
    """What one event said. ``entry``: where the audit log says so. ``pending``: no set has it, no refusal is known."""

    version: int
    said: Said
    standing: Standing
    event_id: OpaqueId
    entry: int
    at: datetime
    by: str
    gate: str | None
    stated_by: str | None
    commitment: Sha256Hex | None
    effective_from: str | None
    effective_until: str | None

    @property
    def judged_by(self) -> str:
        """The gate, or who states that no gate was needed."""
        return self.gate or (f"none, {self.stated_by} states" if self.stated_by else "none")


class DocumentLineage(Contract):
    """One document. ``version`` counts, or its removal does, since its event's time, and from ``generation`` on."""

    tenant: TenantName
    document_id: OpaqueId
    status: Literal["present", "removed", "never-published"]
    version: int | None
    event_id: OpaqueId | None
    gate: str | None
    generation: int | None
    since: datetime | None
    published_generation: int | None
    published_set: Sha256Hex | None
    segment: Sha256Hex | None
    passages: int
    sealed_texts: tuple[int, ...]
    said: tuple[SaidVersion, ...]


class SegmentView(Contract):
    """One segment of the published set."""

    digest: Sha256Hex
    generation: int
    embedder: str
    size_bytes: int
    holds: tuple[HeldVersion, ...]


class SetView(Contract):
    """The published set."""

    tenant: TenantName
    generation: int | None
    digest: Sha256Hex | None
    documents: int
    removed: int
    segments: tuple[SegmentView, ...]


async def named_set(tenancy: Tenancy, tenant: TenantId) -> tuple[KnowledgeState | None, KnowledgeSet, TenantStore]:
    """The set that counts now, and what the state says of it. Raises UnknownTenant and TenantFenced."""
    state = (await tenancy.active(tenant)).state.knowledge
    store = await tenancy.store(tenant)
    return state, await read_set(store, state), store


async def published_set(tenancy: Tenancy, tenant: TenantId) -> SetView:
    """Which documents and versions each segment holds. Raises as :func:`named_set`."""
    state, held, _ = await named_set(tenancy, tenant)
    named = [
        HeldVersion(document_id=name, version=entry.version, passages=entry.passages, segment=entry.segment)
        for name, entry in held.documents.items()
        if entry.segment is not None
    ]
    return SetView(
        tenant=tenant,
        generation=state and state.generation,
        digest=state and state.digest,
        documents=sum(entry.status == "present" for entry in held.documents.values()),
        removed=sum(entry.status == "removed" for entry in held.documents.values()),
        segments=tuple(
            SegmentView(
                **entry.model_dump(exclude={"passages"}),
                holds=tuple(one for one in named if one.segment == entry.digest),
            )
            for entry in held.segments
        ),
    )


async def document_lineage(tenancy: Tenancy, tenant: TenantId, document_id: str) -> DocumentLineage:
    """Trace one document. Events are looked up for its latest :data:`LATEST_VERSIONS` version numbers and the
    :data:`NEXT_VERSIONS` after them. Raises as :func:`named_set`, and :class:`Refused` for an unknown document.
    """
    state, held, store = await named_set(tenancy, tenant)
    entry = held.documents.get(document_id)
    names = [name async for name in store.list("knowledge", "documents", document_id)]
    texts = sorted(int(name.rpartition("/")[2]) for name in names)
    highest = max([*texts, *([entry.version] if entry else [])], default=0)
    numbers = range(max(1, highest - LATEST_VERSIONS + 1), highest + NEXT_VERSIONS + 1)
    entries = await _entries(
        tenancy, tenant, [_event_id(said, tenant, document_id, n) for n in numbers for said in _SAID]
    )
    said = _said(entries, Pseudonyms.derived(store.keys.data_key), tenant, document_id, entry)
    if entry is None and not texts and not said:
        raise Refused("unknown-document", "refused: the tenant has no such document; see `sano knowledge list`")
    return DocumentLineage(
        tenant=tenant,
        document_id=document_id,
        status=entry.status if entry else "never-published",
        version=entry and entry.version,
        event_id=entry and entry.event_id,
        gate=entry and entry.gate,
        generation=entry and (entry.generation or None),
        since=entry and entry.since,
        published_generation=state and state.generation,
        published_set=state and state.digest,
        segment=entry and entry.segment,
        passages=entry.passages if entry else 0,
        sealed_texts=tuple(texts),
        said=said,
    )


async def _entries(tenancy: Tenancy, tenant: TenantId, occurrences: Sequence[str]) -> list[AuditEntry]:
    """The entries of the audit log about these events, and about their refusals."""
    found = await gathered(tenancy.audit.entered(tenant, occurrence) for occurrence in occurrences)
    refusals = await gathered(
        tenancy.audit.refusal(tenant, occurrence)
        for occurrence, entry in zip(occurrences, found, strict=True)
        if entry is not None
    )
    return [entry for entry in (*found, *refusals) if entry is not None]


def _said(
    entries: Sequence[AuditEntry],
    pseudonyms: Pseudonyms,
    tenant: TenantId,
    document_id: str,
    counting: DocumentEntry | None,
) -> tuple[SaidVersion, ...]:
    """What the log has of the document, in its order."""
    pseudonym = pseudonyms.of("document", document_id)
    refused = {entry.facts.get("about") for entry in entries if entry.kind in REFUSED}
    told = []
    for entry in entries:
        event_type = str(entry.facts.get("event_type") or f"sano.{entry.kind}")
        said = _SAID.get(event_type)
        if entry.facts.get("document") != pseudonym or said is None:
            continue
        facts, version = entry.facts, int(entry.facts["version"])
        name = _event_id(event_type, tenant, document_id, version)
        is_refused = entry.tag in refused or entry.kind.startswith("event.")
        told.append(
            SaidVersion(
                version=version,
                said=said,
                standing=_standing(name, (version, said == "removed"), counting, is_refused=is_refused),
                event_id=name,
                entry=entry.seq,
                at=entry.time,
                by=f"{entry.actor.role} {entry.actor.id}",
                **{fact: facts.get(fact) for fact in ("gate", "stated_by", "commitment")},
                **{fact: facts.get(fact) for fact in ("effective_from", "effective_until")},
            )
        )
    return tuple(told)


def _event_id(event_type: str, tenant: TenantId, document_id: str, version: int) -> str:
    return event_id(event_type, tenant, f"{document_id}|{version}")


def _standing(name: str, told: _Told, counting: DocumentEntry | None, *, is_refused: bool) -> Standing:
    """``over``: something later counts."""
    if counting is not None and counting.event_id == name:
        return "counts"
    if is_refused:
        return "refused"
    has_ended = counting is not None and told <= (counting.version, counting.status == "removed")
    return "over" if has_ended else "pending"
