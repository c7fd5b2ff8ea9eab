"""The same documents in PostgreSQL, beside a replica's memory: what a search and a change take there."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consumers.knowledge.handlers import on_documents
from consumers.knowledge.ports import KnowledgePorts
from inference.knowledge.database_search import DatabaseSearch
from inference.knowledge.port import PassageSearch, Searched
from schemas.objects.state import TenantState
from tenancy.embedding.port import Embedder
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.database.tables import held
from tenancy.knowledge.search import CANDIDATES, Question
from tenancy.tenant_id import TenantId
from tests.bench.frame import Step
from tests.bench.indexed_tenant import Indexed, drawn_texts
from tests.fixtures.gates import gate_of_tests
from tests.unit.knowledge.index_parts import Index

SETTINGS = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB"}
"""So that the largest index lies in memory, as its operator would have it."""
PATIENCE_SECONDS = 3600.0


def admitted(tenant: TenantId) -> None:
    """Nobody is fenced."""


def kept_there(state: TenantState) -> TenantState:
    return state.evolve(policy=state.policy.evolve(knowledge_index="postgres"))


@dataclass
class InDatabase:
    """A tenant of its own, whose policy keeps its index in the database."""

    ours: Indexed
    database: Database
    questions: Sequence[Question]
    search: PassageSearch = field(init=False)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(2))

    def __post_init__(self) -> None:
        self.search = DatabaseSearch(self.ours.parts.tenancy, self.database, admitted, PATIENCE_SECONDS)

    async def filled(self) -> dict[str, Any]:
        """Fill it, and say what that took and how much of what memory finds it finds."""
        await self.ours.parts.tenancy.states.swap(self.ours.tenant, kept_there)
        began = time.monotonic()
        await self._asked(self.questions[0])
        seconds, found = time.monotonic() - began, await held(self.database, self.ours.tenant)
        assert found is not None
        by_meaning = [replace(question, text="?", top_k=CANDIDATES) for question in self.questions]
        facts = {
            "passages a second into PostgreSQL": round(found[0] / seconds),
            "bytes in PostgreSQL for a passage": round(found[1] / found[0]),
            "found there of what memory finds": await self._agreed(self.questions),
            "found there of the 50 nearest vectors": await self._agreed(by_meaning),
        }
        await self.ours.indexes.drop_idle(-1)
        return facts

    async def _agreed(self, questions: Sequence[Question]) -> str:
        async with self.ours.opened() as index:
            there = [{one.passage for one in (await self._asked(question)).found} for question in questions]
            here = [{one.passage for one in index.search(question)} for question in questions]
        agreed = sum(len(one & other) for one, other in zip(here, there, strict=True))
        return f"{agreed} of {sum(map(len, here))}"

    def steps(self, size: int) -> dict[str, Step]:
        return {
            f"in PostgreSQL, {size:,}": self._by_the_clock,
            f"from PostgreSQL, {size:,}": self._of_the_replica,
            f"changed in PostgreSQL, {size:,}": self._changed,
        }

    async def _asked(self, question: Question) -> Searched:
        return await self.search.search(self.ours.tenant, await self.ours.state(), question)

    async def _by_the_clock(self, _: int) -> float:
        return await self._median(time.monotonic)

    async def _of_the_replica(self, _: int) -> float:
        return await self._median(time.process_time)

    async def _median(self, clock: Callable[[], float]) -> float:
        state, taken = await self.ours.state(), []
        for question in self.questions:
            began = clock()
            await self.search.search(self.ours.tenant, state, question)
            taken.append((clock() - began) * 1000)
        return statistics.median(taken)

    async def _changed(self, _: int) -> float:
        """Milliseconds of a document of one passage that is replaced by another, until its event is handled."""
        index = Index(self.ours.parts, self.ours.tenant)

        async def source() -> Embedder:
            return self.ours.embedder

        event = await index.upserted("d0-0", next(self._versions), drawn_texts(1)[0])
        began = time.monotonic()
        await on_documents([event], KnowledgePorts(self.ours.parts.tenancy, source, gate_of_tests, self.database))
        return (time.monotonic() - began) * 1000
