"""Measures how many of the nearest passages pgvector's graph finds, by how far it is searched (``hnsw.ef_search``).

``python -m tests.bench.graph_recall [--passages N] [--texts FILE]``: the texts are embedded by the model that is used
without settings, in one thread, and kept in the cache's folder. They are indexed as a tenant's documents are, and asked
for as a question is; the same questions to all vectors say which are the nearest. One that is as near as the last of
them counts as found.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from deploy.local.settings import LocalSettings
from tenancy.embedding.opening import open_embedder
from tenancy.embedding.port import Embedder, TextKind, Vectors
from tenancy.embedding.settings import EmbedderSettings
from tenancy.knowledge.database.connection import Cursor, Database
from tenancy.knowledge.database.sealing import in_words
from tenancy.knowledge.database.tables import Tables
from tenancy.knowledge.search import CANDIDATES
from tests.bench.database_index import SETTINGS, InDatabase
from tests.bench.drawn_monographs import passages, questions
from tests.bench.frame import say
from tests.bench.indexed_tenant import indexed
from tests.bench.retrieval import questions as asked_of
from tests.fixtures.postgres import running_postgres

ASKED = 200
FAR = (40, 100, 200, 400, 800)
NEAREST = (5, 10, CANDIDATES)
AT_ONCE = 512
_NEAREST = (
    "SELECT p.vector <=> %s::halfvec FROM {schema}.passages p WHERE p.vector IS NOT NULL "
    "ORDER BY p.vector <=> %s::halfvec LIMIT {candidates}"
)
SECONDS = 600.0
AS_NEAR = 1e-6


async def measured(texts: Sequence[str], cache: Path) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        embedder = await stack.enter_async_context(open_embedder(EmbedderSettings(), folder))
        if embedder is None:
            raise SystemExit("the embedder's package is not installed")
        vectors = await _vectors(embedder, texts, "passage", cache)
        asked = await _vectors(embedder, questions(ASKED), "query", cache)
        server = stack.enter_context(running_postgres(cache, **SETTINGS))
        database = await stack.enter_async_context(Database(server.database()))
        ours = await indexed(embedder, texts, vectors)
        filled = await InDatabase(ours, database, asked_of(ours, asked)).filled()
        say("; ".join(f"{name}: {figure}" for name, figure in filled.items()))
        exact, _ = await _nearest(database, Tables(ours.tenant), asked, None)
        say(f"the nearest passage of a question has a cosine of {1 - statistics.median(one[0] for one in exact):.2f}")
        for far in FAR:
            found, milliseconds = await _nearest(database, Tables(ours.tenant), asked, far)
            recalls = ", ".join(f"recall@{count} {_recall(found, exact, count):.3f}" for count in NEAREST)
            print(f"{len(texts):,} passages, ef_search {far}: {recalls}, {milliseconds:.1f} ms", flush=True)


async def _vectors(embedder: Embedder, texts: Sequence[str], kind: TextKind, cache: Path) -> Vectors:
    """Embedded once for the same texts."""
    said = hashlib.sha256("\n\n".join((embedder.name, kind, *texts)).encode()).hexdigest()[:16]
    file = cache / "vectors" / f"{said}.npy"
    if file.exists():
        return np.asarray(np.load(file), np.float32)
    parts, began = list[Vectors](), time.process_time()
    for start in range(0, len(texts), AT_ONCE):
        parts.append((await embedder.embed(texts[start : start + AT_ONCE], kind)).vectors)
    say(f"embedded {len(texts) / (time.process_time() - began):.0f} texts a second of processor time")
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.concatenate(parts))
    return np.concatenate(parts)


async def _nearest(
    database: Database, tables: Tables, asked: Vectors, far: int | None
) -> tuple[list[list[float]], float]:
    """The distances of what is found for each question, nearest first, and the median of what that takes. ``far``: of
    the search through the graph; None compares all vectors.
    """
    async with database.transaction(SECONDS, reading=True) as cursor:
        setting = ("enable_indexscan", "off") if far is None else ("hnsw.ef_search", str(far))
        await cursor.execute("SELECT set_config(%s, %s, true)", setting)
        found, taken = list[list[float]](), list[float]()
        for vector in asked:
            began = time.monotonic()
            found.append(await _distances(cursor, tables, vector))
            taken.append((time.monotonic() - began) * 1000)
    return found, statistics.median(taken)


async def _distances(cursor: Cursor, tables: Tables, vector: Vectors) -> list[float]:
    said = in_words(vector)
    await cursor.execute(tables.sql(_NEAREST, candidates=CANDIDATES), [said, said])
    return [float(distance) for (distance,) in await cursor.fetchall()]


def _recall(found: Sequence[Sequence[float]], exact: Sequence[Sequence[float]], count: int) -> float:
    """Of the ``count`` nearest, how many were found: as many as are as near as the last of them."""
    pairs = zip(found, exact, strict=True)
    return statistics.mean(
        sum(distance <= all_of[count - 1] + AS_NEAR for distance in of[:count]) / count for of, all_of in pairs
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.graph_recall", description=__doc__)
    parser.add_argument("--passages", type=int, default=20_000, help="how many are drawn")
    parser.add_argument("--texts", type=Path, help="passages of your own, one a line")
    given = parser.parse_args()
    texts = given.texts.read_text().splitlines() if given.texts else passages(given.passages)
    asyncio.run(measured(texts, LocalSettings().cache_dir))


if __name__ == "__main__":
    main()
