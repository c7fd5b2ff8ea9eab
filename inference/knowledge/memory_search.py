"""Searches in this replica's memory: the index is opened with its tenant's first question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.port import Searched
from schemas.objects.state import KnowledgeState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound
from tenancy.knowledge.search import Question, Searchable
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class MemorySearch:
    """Implements :class:`PassageSearch`."""

    tenancy: Tenancy
    indexes: LoadedIndexes

    async def search(self, tenant: TenantId, state: KnowledgeState, question: Question) -> Searched:
        """See the port. Raises as :meth:`LoadedIndexes.used`."""
        async with self._index(tenant, state) as index:
            found = await asyncio.to_thread(index.search, question)
            cited = {one.passage.document_id for one in found}
            return Searched(found, {name: index.held.documents[name].title for name in cited})

    @asynccontextmanager
    async def _index(self, tenant: TenantId, state: KnowledgeState) -> AsyncIterator[Searchable]:
        """The index that this view of the state names or, where that was replaced and erased meanwhile, the one of now.

        Raises as :meth:`LoadedIndexes.used`.
        """
        open_store = partial(self.tenancy.store, tenant)
        async with AsyncExitStack() as stack:
            try:
                index = await stack.enter_async_context(self.indexes.used(tenant, state, open_store))
            except ObjectNotFound:
                latest = (await self.tenancy.active(tenant)).state.knowledge
                if latest is None:
                    raise
                index = await stack.enter_async_context(self.indexes.used(tenant, latest, open_store))
            yield index
