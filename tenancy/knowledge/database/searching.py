"""Searches a tenant's index in the database: by meaning and by words, as :mod:`tenancy.knowledge.search` in memory.

The graph of vectors is approximate, where memory compares all. Of a question's words the rarest choose the passages
that are ranked, and all of them rank these: words in more than :data:`RANKED` passages choose none. BM25 gives them
little weight, and to rank each passage that says "the" takes as long as to compare all vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from psycopg.errors import UndefinedTable
from psycopg.sql import SQL

from tenancy.knowledge.database.connection import Cursor, Database
from tenancy.knowledge.database.sealing import IndexKey, in_words
from tenancy.knowledge.database.tables import Tables
from tenancy.knowledge.search import CANDIDATES, Found, Question, fused
from tenancy.knowledge.terms import K1, B

RANKED = 3000
"""Passages whose words are looked at for one question."""
ASKED = 16
"""Words of a question that are looked for, the rarest ones."""
SEARCH_SECONDS = 10.0

_IN_FORCE = SQL("""
    (d.begins IS NULL OR d.begins <= %(at)s) AND (d.ends IS NULL OR %(at)s < d.ends)
    AND (%(names)s::text[] IS NULL OR d.name = ANY(%(names)s))
""")
_BY_MEANING = """
SELECT p.id FROM {schema}.passages p JOIN {schema}.documents d ON d.id = p.document
WHERE p.vector IS NOT NULL AND {in_force} ORDER BY p.vector <=> %(vector)s::halfvec LIMIT {candidates}
"""
_BY_WORDS = """
SELECT p.id FROM {schema}.passages p JOIN {schema}.documents d ON d.id = p.document,
    unnest(%(terms)s::bigint[], %(weights)s::float8[]) q (term, weight),
    LATERAL (SELECT array_position(p.terms, q.term) AS place OFFSET 0) said, LATERAL (SELECT p.counts[place] AS often) f
WHERE p.terms && %(rarest)s::bigint[] AND place IS NOT NULL AND {in_force} GROUP BY p.id
ORDER BY sum(q.weight * often / (often + {k1} * (1 - {b} + {b} * p.words / %(average)s))) DESC, p.id LIMIT {candidates}
"""
_HOLDING = "SELECT term, passages FROM {schema}.words WHERE term = ANY(%(terms)s) ORDER BY passages, term"
_FOUND = """
SELECT p.id, d.name, d.version, d.title, p.sealed, 1 - (p.vector <=> %(vector)s::halfvec)
FROM {schema}.passages p JOIN {schema}.documents d ON d.id = p.document WHERE p.id = ANY(%(ids)s)
"""


async def searched(
    database: Database, key: IndexKey, digest: str, question: Question
) -> tuple[list[Found], Mapping[str, str]] | None:
    """The best passages of the set of this digest, best first, and the titles of their documents by their ids. None
    where the index is not of this set.

    Raises :class:`DatabaseFailed`, and :class:`SealBroken`.
    """
    tables = Tables(key.tenant)
    async with database.transaction(SEARCH_SECONDS, reading=True) as cursor:
        try:
            await cursor.execute(tables.sql("SELECT digest, embedder, passages, words FROM {schema}.head"))
        except UndefinedTable:
            return None
        [(held, embedder, passages, words)] = await cursor.fetchall()
        if held != digest:
            return None
        search = _Search(tables, cursor, key, question, has_vectors=embedder == question.embedder)
        return await search.found(passages, words / max(1, passages))


@dataclass(frozen=True)
class _Search:
    """One question, within one transaction. ``has_vectors``: the index has those that the question's is one of."""

    tables: Tables
    cursor: Cursor
    key: IndexKey
    question: Question
    has_vectors: bool

    async def found(self, passages: int, average: float) -> tuple[list[Found], Mapping[str, str]]:
        by_meaning = await self._rows(_BY_MEANING) if self.has_vectors else []
        ranked = fused(([row[0] for row in by_meaning], await self._by_words(passages, average)))
        scores = dict(ranked[: self.question.top_k])
        rows = {row[0]: row for row in await self._rows(_FOUND, ids=list(scores))}
        found, titles = [], {}
        for number, score in scores.items():
            _, name, version, title, sealed, cosine = rows[number]
            found.append(Found(self.key.passage(name, version, bytes(sealed)), score, cosine))
            titles[name] = self.key.title(name, version, bytes(title))
        return found, titles

    async def _by_words(self, passages: int, average: float) -> list[int]:
        terms = self.key.of_question(self.question.text)
        holding = (await self._rows(_HOLDING, terms=terms))[:ASKED]
        rarest = [
            term
            for (term, _), ranked in zip(holding, accumulate(count for _, count in holding), strict=True)
            if ranked <= RANKED
        ]
        if not rarest:
            return []
        weights = [math.log1p((passages - count + 0.5) / (count + 0.5)) for _, count in holding]
        asked = {"terms": [term for term, _ in holding], "weights": weights, "rarest": rarest, "average": average}
        return [row[0] for row in await self._rows(_BY_WORDS, **asked)]

    async def _rows(self, statement: str, **values: object) -> Sequence[tuple[Any, ...]]:
        question = self.question
        names = None if question.document_ids is None else list(question.document_ids)
        vector = in_words(question.vector) if self.has_vectors else None
        own = {"at": question.at, "names": names, "vector": vector}
        made = self.tables.sql(statement, in_force=_IN_FORCE, candidates=CANDIDATES, k1=K1, b=B)
        await self.cursor.execute(made, {**own, **values})
        return await self.cursor.fetchall()
