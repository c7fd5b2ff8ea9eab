"""Memory for tenants' indexes is shared fairly: large ones do not evict each other with each question."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from inference.knowledge.loaded_indexes import STAY_SECONDS, LoadedIndexes, NoRoomForIndex
from schemas.objects import object_keys
from schemas.objects.knowledge import KnowledgeSet, SegmentEntry
from schemas.objects.state import KnowledgeState
from tenancy.knowledge.segments import Passage, made, packed, unpacked
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

DIMENSIONS = 64


@dataclass
class Documents:
    """A tenant with so many passages in the bucket; ``reads`` counts how often its segment was read."""

    tenant: TenantId
    passages: int
    reads: int = 0
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        vectors = np.ones((self.passages, DIMENSIONS), np.float32)
        body = packed(made([Passage("d1", 1, "", f"dose {row}") for row in range(self.passages)], vectors))
        self.size_bytes = unpacked(body).size_bytes
        digest = hashlib.sha256(body).hexdigest()
        entry = SegmentEntry(generation=1, digest=digest, embedder="e", passages=self.passages, size_bytes=len(body))
        named = KnowledgeSet(generation=1, segments=(entry,)).model_dump_json().encode()
        self.state = KnowledgeState(
            generation=1,
            digest=hashlib.sha256(named).hexdigest(),
            documents=1,
            passages=self.passages,
            size_bytes=len(body),
        )
        self.segment = object_keys.segment(1, digest)
        self.objects = {self.segment: body, object_keys.knowledge_set(1, self.state.digest): named}

    async def store(self) -> TenantStore:
        return cast(TenantStore, self)

    async def get(self, relative: str) -> tuple[bytes, str]:
        self.reads += relative == self.segment
        return self.objects[relative], ""


@dataclass
class Replica:
    """A replica's indexes, and its clock."""

    indexes: LoadedIndexes
    at: float = 100.0

    async def ask(self, documents: Documents) -> None:
        async with self.indexes.used(documents.tenant, documents.state, documents.store):
            pass


def replica(max_bytes: float) -> Replica:
    made_here = Replica(LoadedIndexes(int(max_bytes)))
    made_here.indexes.now = lambda: made_here.at
    return made_here


LARGE, OTHER_LARGE, SMALL = (Documents(TenantId(name), count) for name, count in (("t1", 400), ("t2", 400), ("t3", 20)))


@pytest.fixture(autouse=True)
def _counted_anew() -> None:
    for documents in (LARGE, OTHER_LARGE, SMALL):
        documents.reads = 0


async def test_two_large_indexes_do_not_evict_each_other_with_each_question() -> None:
    here = replica(LARGE.size_bytes * 1.5)
    await here.ask(LARGE)
    for _ in range(5):
        await here.ask(LARGE)
        with pytest.raises(NoRoomForIndex) as refused:
            await here.ask(OTHER_LARGE)
        assert 0 < refused.value.seconds <= STAY_SECONDS
        here.at += 1
    assert (LARGE.reads, OTHER_LARGE.reads) == (1, 1), "what has no place is not read with each question"
    here.at += STAY_SECONDS
    await here.ask(LARGE)
    await here.ask(OTHER_LARGE)
    assert here.indexes.held_tenants() == (OTHER_LARGE.tenant,), "each has its turn"
    with pytest.raises(NoRoomForIndex):
        await here.ask(LARGE)


async def test_an_index_within_its_share_is_opened_at_once_and_stays_whatever_larger_ones_do() -> None:
    here = replica(LARGE.size_bytes * 1.01)
    await here.ask(LARGE)
    await here.ask(SMALL)
    assert here.indexes.held_tenants() == (SMALL.tenant,)
    for _ in range(5):
        here.at += STAY_SECONDS - 1
        await here.ask(SMALL)
        with pytest.raises(NoRoomForIndex):
            await here.ask(LARGE)
    assert SMALL.reads == 1


async def test_what_nobody_asks_for_makes_room() -> None:
    here = replica(LARGE.size_bytes * 1.01)
    await here.ask(SMALL)
    here.at += STAY_SECONDS
    await here.ask(LARGE)
    assert here.indexes.held_tenants() == (LARGE.tenant,)
