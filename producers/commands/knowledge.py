"""Adds documents to a tenant's retrieval, and removes them: sealed contents first, then the events that name them."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from producers.progress import Progress, each, silent
from producers.sources.approvals_file import random_salt
from producers.sources.documents.fhir_resources import read_documents
from producers.sources.documents.reading import ReadDocument
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.bus.content import ChatMessage, CommittedDocument, DocumentClaimCheck, DocumentContent
from schemas.bus.events import DocumentRemoved, DocumentUpserted
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.knowledge import DocumentEntry
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, Transient
from tenancy.knowledge.published import read_set
from tenancy.lifecycle.terms import tenant_terms
from tenancy.redaction.port import RedactionGate
from tenancy.redaction.terms import TenantTerms
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

DEADLINE_SECONDS = 60.0
"""From the look at the tenant's state to the end of the write that follows it: as a handler's."""
READ_AT_ONCE = 2
"""Files that are parsed side by side, each in a process of its own."""

ReadFile = Callable[[Path, str | None], Awaitable[Sequence[ReadDocument]]]

_ID_DOMAIN = b"sanolith/document-id/v1/"


class AddedDocument(Contract):
    """One document as it is known from here on. ``known``: this text was uploaded before, and is only told again.
    ``removed`` and ``passed-over``: it is said to count no more, and was added before, or never."""

    document_id: OpaqueId
    version: int
    status: Literal["new", "known", "removed", "passed-over"]
    redacted: int


class Effect(Contract):
    """From when and until when a document may be cited."""

    begins: datetime | None = None
    ends: datetime | None = None


async def add_documents(
    files: Sequence[Path],
    tenant: TenantId,
    tenancy: Tenancy,
    *,
    gate: Callable[[], RedactionGate] | None,
    stated_by: str | None = None,
    document_id: str | None = None,
    title: str | None = None,
    effect: Effect | None = None,
    read: ReadFile = read_documents,
    progress: Progress = silent,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> list[AddedDocument]:
    """Upload and publish every document, or none where one of them cannot be read. A FHIR file may hold many.

    What the gate finds is replaced by placeholders before anything is written. Without a gate, ``stated_by`` is the
    operator who states that nobody can be identified by the text as it is. A document without an id gets one from its
    file's name, or from its resource's type and id, so the same name again is a new version of it. Adding the same text
    again says the same again. Raises :class:`Refused`, and :class:`Transient`: then the same command, run again, does
    the rest.
    """
    in_files = await each(
        files, lambda file: read(file, title), what="reading", progress=progress, at_once=READ_AT_ONCE
    )
    documents = [document for in_file in in_files for document in in_file]
    if (document_id is not None or title is not None) and len(documents) != 1:
        raise Refused("one-document", "refused: an id and a title are of one document; give one file that holds one")
    store = await tenancy.store(tenant)
    ids = [document_id or derived_document_id(store.keys.data_key, document.name) for document in documents]
    if len(set(ids)) != len(ids):
        raise Refused("repeated-document", "refused: two documents have the same name; rename one, or add it apart")
    terms = None if gate is None else await tenant_terms(store)
    redacted = await each(
        documents, lambda document: _redacted(document, gate, terms), what="redacting", progress=progress
    )
    held = await read_set(store, (await tenancy.active(tenant)).state.knowledge)
    added = []
    for number, (name, (document, verdict, count)) in enumerate(zip(ids, redacted, strict=True)):
        progress("sealing", number, len(ids))
        if not document.blocks:
            added.append(await _withdrawn(tenancy, tenant, name))
            continue
        upload = _Upload(tenancy, tenant, store, deadline_seconds, effect or Effect())
        version, content, is_new = await upload.sealed(name, document, held.documents.get(name), random_salt())
        said = DocumentUpserted(
            document_id=name,
            version=version,
            effective_from=upload.effect.begins,
            effective_until=upload.effect.ends,
            content=CommittedDocument(
                reference=DocumentClaimCheck(document_id=name, version=version), commitment=content.commitment()
            ),
            gate=verdict,
            stated_by=stated_by if verdict is None else None,
        )
        await tenancy.outbox.publish(tenant, said)
        status: Literal["new", "known"] = "new" if is_new else "known"
        added.append(AddedDocument(document_id=name, version=version, status=status, redacted=count))
    progress("sealing", len(ids), len(ids))
    return added


async def _withdrawn(tenancy: Tenancy, tenant: TenantId, document_id: str) -> AddedDocument:
    """Remove a document that is said to count no more, if it was ever added."""
    try:
        removed = await remove_document(tenancy, tenant, document_id)
    except Refused as refusal:
        if refusal.code != "unknown-document":
            raise
        return AddedDocument(document_id=document_id, version=0, status="passed-over", redacted=0)
    return AddedDocument(document_id=document_id, version=removed.version, status="removed", redacted=0)


async def remove_document(tenancy: Tenancy, tenant: TenantId, document_id: str) -> DocumentRemoved:
    """Publish that the document must not be retrieved any more, in any version that was added so far."""
    state = (await tenancy.active(tenant)).state
    store = await tenancy.store(tenant)
    entry = (await read_set(store, state.knowledge)).documents.get(document_id)
    versions = [int(name.rpartition("/")[2]) async for name in store.list("knowledge", "documents", document_id)]
    if entry is not None:
        versions.append(entry.version)
    if not versions:
        raise Refused("unknown-document", "refused: the tenant has no such document; see `sano knowledge list`")
    removed = DocumentRemoved(document_id=document_id, version=max(versions))
    await tenancy.outbox.publish(tenant, removed)
    return removed


def derived_document_id(data_key: bytes, name: str) -> str:
    """An id for the name of a file or a resource, which may say anything: the same for the same name, no guess without
    the data key."""
    return f"document-{hmac.new(data_key, _ID_DOMAIN + name.encode(), 'sha256').hexdigest()[:32]}"


async def _redacted(
    document: ReadDocument, gate: Callable[[], RedactionGate] | None, terms: TenantTerms | None
) -> tuple[ReadDocument, GateVerdict | None, int]:
    """The document with placeholders, in all of which one value has one; what the gate says of it now; how many."""
    if gate is None or not document.blocks:
        return document, None, 0
    texts = [document.title, *(block.text for block in document.blocks)]
    messages = [ChatMessage(role="user", content=text) for text in texts]
    found = await asyncio.to_thread(lambda: gate().redact(messages, terms=terms))
    title, *blocks = (message.content for message in found.messages)
    made = tuple(block.evolve(text=text) for block, text in zip(document.blocks, blocks, strict=True))
    verdict = GateVerdict(gate=found.report.gate, version=found.report.version, verdict="clean")
    return ReadDocument(title[:300], made, document.name), verdict, sum(found.report.counts.values())


class _Upload:
    """Seals one document while the tenant is not fenced."""

    def __init__(
        self, tenancy: Tenancy, tenant: TenantId, store: TenantStore, deadline_seconds: float, effect: Effect
    ) -> None:
        self._tenancy = tenancy
        self._tenant = tenant
        self._store = store
        self._deadline_seconds = deadline_seconds
        self.effect = effect

    async def sealed(
        self, document_id: str, document: ReadDocument, entry: DocumentEntry | None, salt: str
    ) -> tuple[int, DocumentContent, bool]:
        """The version under which this text lies, its content, and whether it is new. Another upload of the document
        may come in between: its version stands, and this one is the next."""
        try:
            draft = DocumentContent(title=document.title, blocks=document.blocks, salt=salt)
        except ValidationError:
            raise Refused("document-too-long", "refused: with its placeholders it is too long; split it") from None
        version = self._first(entry)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._tenancy.active(self._tenant)
                while True:
                    location = object_keys.document(document_id, version)
                    if await self._store.put_if_absent(location, draft):
                        return version, draft, True
                    held, _ = await self._store.find_record(location, DocumentContent)
                    if held is not None and held.said() == draft.said():
                        return version, held, False
                    version += 1
        except TimeoutError:
            raise Transient("the object store is too slow; the same command, run again, does the rest") from None

    def _first(self, entry: DocumentEntry | None) -> int:
        """The version that may have this text already, else the next one."""
        if entry is None:
            return 1
        same = (entry.effective_from, entry.effective_until) == (self.effect.begins, self.effect.ends)
        return entry.version if entry.status == "present" and same else entry.version + 1
