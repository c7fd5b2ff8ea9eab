"""Asks the set's questions of the real index before and after the update: prompts with passages, and citations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.memory_search import MemorySearch
from inference.knowledge.retrieval import FIELD, Retrieval
from schemas.tenant.policy import TenantPolicy
from tenancy.embedding.port import Embedder
from tests.answers.hospital import QUESTIONS, Asked, When, documents, holds
from tests.unit.knowledge.index_parts import Index, index

TOP_K = 5
FRAME_CHARACTERS = 4000


@dataclass(frozen=True)
class Retrieved:
    """A question as the engine is asked it, and what its answer cites."""

    asked: Asked
    when: When
    prompt: str
    citations: tuple[Mapping[str, Any], ...]

    @property
    def right(self) -> tuple[int, ...]:
        """The numbers of the passages that hold the fact that counts."""
        fact, document = self.asked.fact(self.when), self.asked.document
        return tuple(
            one["number"] for one in self.citations if one["document_id"] == document and holds(one["passage"], fact)
        )

    @property
    def is_cited_right(self) -> bool:
        """Every citation is of the version that counts, and bears the number that its passage has in the prompt."""
        version = {"before": 1, "after": 2}[self.when]
        lines = self.prompt.splitlines()
        return all(
            one["version"] == version
            and f"[{one['number']}] {one['path']}: {' / '.join(one['passage'].splitlines())}" in lines
            for one in self.citations
        )


async def retrieved(embedder: Embedder) -> Mapping[When, list[Retrieved]]:
    """Every question at both times. The documents of both come as events that the consumer handles."""
    made = await index()
    made.embedder = embedder  # type: ignore[assignment]  # in the place of one that tests count calls of
    found: dict[When, list[Retrieved]] = {}
    for version, when in enumerate[When](("before", "after"), 1):
        await made.handle_run(
            [await made.uploaded(name, version, content) for name, content in documents(when).items()]
        )
        found[when] = await _asked(made, when)
    return found


async def _asked(made: Index, when: When) -> list[Retrieved]:
    tenancy = made.parts.tenancy

    async def source() -> Embedder:
        return made.embedder

    retrieval = Retrieval(tenancy, MemorySearch(tenancy, LoadedIndexes(2**24)), source, FRAME_CHARACTERS)
    published = (await tenancy.active(made.tenant)).state.knowledge
    found = []
    for asked in QUESTIONS:
        body = {"messages": [{"role": "user", "content": asked.question}], FIELD: {"top_k": TOP_K}}
        given = await retrieval.applied(made.tenant, TenantPolicy(), published, body)
        assert given is not None
        prompt = given.body["messages"][-1]["content"]
        found.append(Retrieved(asked, when, prompt, tuple(given.told()["citations"])))
    return found
