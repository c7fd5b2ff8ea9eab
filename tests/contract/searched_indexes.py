"""A tenant whose documents are searched by either adapter of the port, beside the consumer that publishes them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from inference.knowledge.database_search import DatabaseSearch
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.memory_search import MemorySearch
from inference.knowledge.port import PassageSearch, Searched
from producers.commands.onboarding import onboard
from schemas.objects.state import KnowledgeState, TenantState
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.search import Found, Question
from tenancy.tenant_id import TenantId
from tests.unit.knowledge.index_parts import TENANT, Index
from tests.unit.operator_parts import NOW, Parts

MOST_BYTES = 2**26


def admitted(tenant: TenantId) -> None:
    """Nobody is fenced on this replica."""


@dataclass
class SearchedIndexes:
    """One installation. ``database``: where its indexes are; None: in memory."""

    parts: Parts
    database: Database | None = None
    indexes: dict[TenantId, Index] = field(default_factory=dict)

    def replica(self) -> PassageSearch:
        if self.database is not None:
            return DatabaseSearch(self.parts.tenancy, self.database, admitted, patience_seconds=20.0)
        return MemorySearch(self.parts.tenancy, LoadedIndexes(MOST_BYTES))

    async def index(self, tenant: TenantId = TENANT) -> Index:
        if tenant not in self.indexes:
            await onboard(self.parts.tenancy, tenant)
            self.indexes[tenant] = Index(self.parts, tenant, database=self.database)
            await self.keep("memory" if self.database is None else "postgres", tenant)
        return self.indexes[tenant]

    async def keep(self, where: str, tenant: TenantId = TENANT) -> None:
        def changed(state: TenantState) -> TenantState:
            return state.evolve(policy=state.policy.evolve(knowledge_index=where))

        await self.parts.tenancy.states.swap(tenant, changed)

    async def state(self, tenant: TenantId = TENANT) -> KnowledgeState:
        found = (await self.parts.tenancy.active(tenant)).state.knowledge
        assert found is not None
        return found

    async def search(
        self,
        query: str,
        *,
        by: PassageSearch | None = None,
        tenant: TenantId = TENANT,
        view: KnowledgeState | None = None,
        at: datetime = NOW,
        top_k: int = 4,
        ids: Collection[str] | None = None,
        embedder: str | None = None,
    ) -> Searched:
        made = (await self.index(tenant)).embedder
        vector = (await made.embed([query], "query")).vectors[0]
        question = Question(query, vector, embedder or made.name, at, top_k, ids)
        return await (by or self.replica()).search(tenant, view or await self.state(tenant), question)


def texts(searched: Searched) -> list[str]:
    return [one.passage.text for one in searched.found]


def named(found: Found) -> tuple[str, int]:
    return found.passage.document_id, found.passage.version
