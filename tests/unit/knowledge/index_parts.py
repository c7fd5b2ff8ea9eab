"""Parts of the tests of retrieval: a tenancy in memory, the consumer's ports, and documents of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consumers.knowledge.handlers import on_document, on_documents
from consumers.knowledge.ports import KnowledgePorts
from schemas.bus import events
from schemas.bus.content import (
    CommittedDocument,
    DocumentBlock,
    DocumentClaimCheck,
    DocumentContent,
    InlineContent,
)
from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.knowledge import KnowledgeSet
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.published import read_segment, read_set
from tenancy.knowledge.search import Found, Question, Searchable
from tenancy.knowledge.segments import Segment, unpacked
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.gates import gate_of_tests
from tests.unit.operator_parts import NOW, Parts, onboarded_parts

TENANT = TenantId("t1")


def content_of(*texts: str, title: str = "Formulary") -> DocumentContent:
    blocks = tuple(DocumentBlock(kind="text", text=text) for text in texts)
    return DocumentContent(title=title, blocks=blocks, salt="5" * 64)


Documents = events.DocumentUpserted | events.DocumentRemoved


@dataclass
class Index:
    """One tenant's retrieval, with a consumer that takes events by hand."""

    parts: Parts
    tenant: TenantId = TENANT
    embedder: WordEmbedder = field(default_factory=WordEmbedder)
    database: Database | None = None

    @property
    def ports(self) -> KnowledgePorts:
        async def embedder() -> WordEmbedder:
            return self.embedder

        return KnowledgePorts(self.parts.tenancy, embedder, gate_of_tests, self.database)

    def event(self, data: DataT) -> Event[DataT]:
        return Event(subject=self.tenant, data=data, time=NOW, source="/sanolith/operators")

    async def upserted(
        self,
        document_id: str,
        version: int,
        *texts: str,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> Event[events.DocumentUpserted]:
        """The event, with its content sealed."""
        return await self.uploaded(document_id, version, content_of(*texts), begins=begins, ends=ends)

    async def uploaded(
        self,
        document_id: str,
        version: int,
        content: DocumentContent,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> Event[events.DocumentUpserted]:
        """:meth:`upserted` of a document that is made already."""
        store = await self.parts.tenancy.store(self.tenant)
        await store.put_record(object_keys.document(document_id, version), content)
        reference = DocumentClaimCheck(document_id=document_id, version=version)
        return self.event(
            events.DocumentUpserted(
                document_id=document_id,
                version=version,
                effective_from=begins,
                effective_until=ends,
                content=CommittedDocument(reference=reference, commitment=content.commitment()),
            )
        )

    async def inline(
        self, document_id: str, version: int, text: str, stated_by: str | None = None
    ) -> Event[events.DocumentUpserted]:
        content = content_of(text)
        key = (await self.parts.tenancy.keys.open(self.tenant)).public_key
        reference = InlineContent(jwe=encrypt_inline(key, content))
        return self.event(
            events.DocumentUpserted(
                document_id=document_id,
                version=version,
                content=CommittedDocument(reference=reference, commitment=content.commitment()),
                stated_by=stated_by,
            )
        )

    def removed(self, document_id: str, version: int) -> Event[events.DocumentRemoved]:
        return self.event(events.DocumentRemoved(document_id=document_id, version=version))

    async def handle(self, *run: Event[Documents]) -> list[Outcome]:
        """Each by itself, in this order."""
        return [await on_document(event, self.ports) for event in run]

    async def handle_run(self, run: Sequence[Event[Documents]]) -> list[Outcome]:
        return await on_documents(run, self.ports)

    async def held(self) -> KnowledgeSet:
        store = await self.parts.tenancy.store(self.tenant)
        return await read_set(store, (await self.parts.tenancy.states.read(self.tenant)).state.knowledge)

    async def segments(self) -> list[Segment]:
        store = await self.parts.tenancy.store(self.tenant)
        return [unpacked(await read_segment(store, entry)) for entry in (await self.held()).segments]

    async def texts(self) -> list[str]:
        """Every passage of the published index, in no order that means anything."""
        return sorted(passage.text for segment in await self.segments() for passage in segment.passages())

    async def search(self, query: str, top_k: int = 4) -> list[Found]:
        vector = (await self.embedder.embed([query], "query")).vectors[0]
        searchable = Searchable.of(await self.held(), await self.segments())
        return searchable.search(Question(query, vector, self.embedder.name, NOW, top_k))

    def objects(self, folder: str) -> list[str]:
        """What the bucket holds of a folder of ``knowledge/``, older versions and markers too."""
        prefix = f"tenants/{self.tenant}/knowledge/{folder}/"
        held = self.parts.objects.objects
        return sorted(key.removeprefix(prefix) for key in held if key.startswith(prefix) and held[key])


async def index() -> Index:
    return Index(await onboarded_parts(TENANT))
