"""Brings a tenant's index in the database to the published set: what the set lacks goes, what the index lacks comes.

One step is one transaction, under a lock of the tenant's. It reads the state after it has the lock, so a step can never
bring back what a later one took out, whichever process makes it; and a tenant that is fenced by then is refused, so
nothing comes after the drop of a purge. It takes what the set does not name away, and puts in documents of one segment.
The step after which nothing is missing writes the set's digest, which a question must name: until then nothing is
found, rather than what was removed.

A document's version has the same passages for ever: so documents are compared by those, however often their segment was
written anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from tenancy.errors import Refused, SealBroken
from tenancy.knowledge.database.connection import Cursor, Database
from tenancy.knowledge.database.sealing import IndexKey, Terms, in_words
from tenancy.knowledge.database.tables import Tables
from tenancy.knowledge.published import read_segment, read_set
from tenancy.knowledge.segments import Segment, unpacked
from tenancy.state.registry import StateRegistry, require_active
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

STEP_SECONDS = 45.0
"""Of one statement, so less than a handler has."""

Version = tuple[str, int]
"""A document's id, and which version of it."""

_FORGET = """
UPDATE {schema}.words w SET passages = w.passages - gone.passages FROM (
    SELECT term, count(*) AS passages FROM {schema}.passages p, unnest(p.terms) term
    WHERE p.document = ANY(%(documents)s) GROUP BY term
) gone WHERE w.term = gone.term
"""
_COUNT = """
INSERT INTO {schema}.words AS w
SELECT term, count(*) FROM {schema}.passages p, unnest(p.terms) term WHERE p.document = ANY(%(documents)s) GROUP BY term
ON CONFLICT (term) DO UPDATE SET passages = w.passages + excluded.passages
"""
_COMPLETE = """
UPDATE {schema}.head SET digest = %(digest)s, is_built = true,
    passages = (SELECT coalesce(sum(passages), 0) FROM {schema}.documents),
    words = (SELECT coalesce(sum(words), 0) FROM {schema}.documents)
"""


@dataclass(frozen=True)
class Filling:
    """Fills indexes. ``open_store`` raises :class:`KeyDestroyed`."""

    database: Database
    states: StateRegistry
    open_store: Callable[[TenantId], Awaitable[TenantStore]]

    async def follow(self, tenant: TenantId) -> None:
        """Bring an index that was complete once to the set of now: what was removed is gone when this returns. Of one
        that is not, what was removed goes, and whoever asks for it fills it.

        Raises :class:`DatabaseFailed`, and :class:`TenantFenced`.
        """
        while await self._step(tenant, None):
            pass

    async def fill(self, tenant: TenantId, embedder: str, dimensions: int) -> None:
        """Make the index, where there is none, and bring it to the set of now. ``embedder``: whose vectors a new one
        holds; passages that another one embedded are found by words alone.

        Raises as :meth:`follow`.
        """
        while await self._step(tenant, (embedder, dimensions)):
            pass

    async def _step(self, tenant: TenantId, new: tuple[str, int] | None) -> bool:
        """Whether there is more to be done. ``new``: of an index that is to be made where there is none."""
        tables = Tables(tenant)
        async with self.database.transaction(STEP_SECONDS) as cursor:
            await tables.lock(cursor)
            state = require_active((await self.states.read(tenant)).state)
            if state.policy.knowledge_index != "postgres":
                if new is None:
                    return False  # since the change that is followed: the purge service drops the index
                raise Refused("index-in-memory", "refused: the tenant's policy keeps its index in memory")
            if not await tables.exist(cursor):
                if new is None:
                    return False
                await tables.create(cursor, *new)
            await cursor.execute(tables.sql("SELECT digest, embedder, is_built FROM {schema}.head"))
            [(digest, embedder, is_built)] = await cursor.fetchall()
            wanted = None if state.knowledge is None else state.knowledge.digest
            if digest is not None and digest == wanted:
                return False
            store = await self.open_store(tenant)
            made = _Index(tables, cursor, store, await read_set(store, state.knowledge), embedder)
            missing = await made.without_surplus()
            is_asked = is_built or new is not None
            if missing and is_asked:
                missing = await made.with_documents_of_one_segment(missing)
            if missing or not is_asked:
                await cursor.execute(tables.sql("UPDATE {schema}.head SET digest = NULL"))
                return is_asked
            if not is_built and new is not None:
                await tables.index(cursor, new[1])
            await cursor.execute(tables.sql(_COMPLETE), {"digest": wanted})
            return False


@dataclass(frozen=True)
class _Index:
    """The tables, and the set that they are brought to, within one transaction."""

    tables: Tables
    cursor: Cursor
    store: TenantStore
    held: KnowledgeSet
    embedder: str

    async def without_surplus(self) -> dict[Version, DocumentEntry]:
        """Take out what the set does not name, and return what of it the tables lack."""
        await self.cursor.execute(self.tables.sql("SELECT id, name, version FROM {schema}.documents"))
        present = {(name, version): number for number, name, version in await self.cursor.fetchall()}
        wanted = {
            (name, entry.version): entry for name, entry in self.held.documents.items() if entry.segment is not None
        }
        surplus = [number for version, number in present.items() if version not in wanted]
        if surplus:
            await self._execute(_FORGET, documents=surplus)
            await self._execute("DELETE FROM {schema}.words WHERE passages <= 0")
            await self._execute("DELETE FROM {schema}.documents WHERE id = ANY(%(documents)s)", documents=surplus)
        return {version: entry for version, entry in wanted.items() if version not in present}

    async def with_documents_of_one_segment(
        self, missing: dict[Version, DocumentEntry]
    ) -> dict[Version, DocumentEntry]:
        """Put in what the segment of one of these documents holds of them, and return the rest."""
        digest = next(iter(missing.values())).segment
        entry = next(segment for segment in self.held.segments if segment.digest == digest)
        segment = await asyncio.to_thread(unpacked, await read_segment(self.store, entry))
        coming = {version for version in segment.documents if version in missing}
        if not coming:
            raise SealBroken("a segment lacks documents that the set says it holds")
        await self.cursor.execute(self.tables.sql("SELECT coalesce(max(id), 0) FROM {schema}.documents"))
        [(documents,)] = await self.cursor.fetchall()
        await self.cursor.execute(self.tables.sql("SELECT coalesce(max(id), 0) FROM {schema}.passages"))
        [(passages,)] = await self.cursor.fetchall()
        rows = _Rows(segment, self.held, IndexKey.of(self.store.keys), entry.embedder == self.embedder)
        made = await asyncio.to_thread(rows.made, coming, documents + 1, passages + 1)
        for table, these in zip(("documents", "passages"), made, strict=True):
            async with self.cursor.copy(self.tables.sql(f"COPY {{schema}}.{table} FROM STDIN")) as copy:
                for row in these:
                    await copy.write_row(row)
        await self._execute(_COUNT, documents=[row[0] for row in made[0]])
        return {version: entry for version, entry in missing.items() if version not in coming}

    async def _execute(self, statement: str, **values: object) -> None:
        await self.cursor.execute(self.tables.sql(statement), values)


@dataclass(frozen=True)
class _Rows:
    """The rows of a segment's passages. ``has_vectors``: they are of the embedder whose vectors the tables hold."""

    segment: Segment
    held: KnowledgeSet
    key: IndexKey
    has_vectors: bool

    def made(
        self, versions: Collection[Version], document: int, passage: int
    ) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """Those of ``documents`` and of ``passages``, numbered from these numbers on."""
        terms = self.key.of_segment(self.segment)
        documents: list[tuple[object, ...]] = []
        passages: list[tuple[object, ...]] = []
        for number, (name, version) in enumerate(self.segment.documents):
            if (name, version) not in versions:
                continue
            rows = np.flatnonzero(self.segment.owners == number).tolist()
            entry, words = self.held.documents[name], int(self.segment.postings.lengths[rows].sum())
            title = self.key.sealed_title(name, version, entry.title)
            dates = entry.effective_from, entry.effective_until
            documents.append((document + len(documents), name, version, *dates, title, len(rows), words))
            passages += self._passages(rows, terms, document + len(documents) - 1, passage + len(passages))
        return documents, passages

    def _passages(
        self, rows: list[int], terms: Sequence[Terms], document: int, first: int
    ) -> Iterator[tuple[object, ...]]:
        for number, row in enumerate(rows, first):
            vector = in_words(self.segment.vectors[row].tolist()) if self.has_vectors else None
            words = int(self.segment.postings.lengths[row])
            yield number, document, vector, *terms[row], words, self.key.sealed_passage(self.segment.passage(row))
