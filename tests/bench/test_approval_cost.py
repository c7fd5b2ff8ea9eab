"""An approval sends the same requests to the object store however many examples are stored. No clock is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from consumers.curation.handlers import on_example_approved
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion, StoredObject
from tenancy.tenant_id import TenantId
from tests.bench import histories

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZES = (10, 1_000, 10_000)
PAGE = 1_000  # keys in one answer to a listing
POLICY = TenantPolicy(min_new_examples=3)


@dataclass
class CountedStore(MemoryObjectStore):
    """Notes what would be a request to S3: the operation, its precondition and the kind of object."""

    requests: list[str] = field(default_factory=list)

    def _note(self, operation: str, key: str) -> None:
        parts = key.split("/")
        kind = parts[0] if key.startswith(object_keys.WORK_PREFIX) else parts[2]
        self.requests.append(f"{operation} {kind}")

    async def get(self, key: str) -> StoredObject:
        self._note("get", key)
        return await super().get(key)

    async def exists(self, key: str) -> bool:
        self._note("head", key)
        return await super().exists(key)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self._note("create" if if_absent else "swap" if if_match else "put", key)
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)

    async def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        self._note("list", prefix)
        found = 0
        async for key in super().keys(prefix, after=after):
            found += 1
            if found > PAGE and found % PAGE == 1:
                self._note("list", prefix)
            yield key

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        self._note("list versions", prefix)
        found = 0
        async for version in super().versions(prefix):
            found += 1
            if found > PAGE and found % PAGE == 1:
                self._note("list versions", prefix)
            yield version


@dataclass(frozen=True)
class Stored:
    """A tenant with so many stored examples."""

    objects: CountedStore
    tenancy: Tenancy
    tenant: TenantId

    async def requests_of(self, example_id: str, version: int = 1) -> list[str]:
        """What one approval asks of the object store."""
        event = await histories.uploaded(self.tenancy, self.tenant, example_id, version)
        self.objects.requests.clear()
        assert await on_example_approved(event, self.tenancy) is Outcome.EFFECT
        return list(self.objects.requests)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pasts() -> list[Stored]:
    made = []
    for size in SIZES:
        objects = CountedStore()
        tenancy = assemble(objects, KeyFileMasterKey(b"m" * 32), RecordingPublisher(), "/sanolith/curation")
        tenant = await histories.onboarded(tenancy, f"tenant-{size}", POLICY)
        await histories.stored(tenancy, tenant, size)
        made.append(Stored(objects, tenancy, tenant))
    return made


async def test_an_approval_sends_the_same_requests_at_10_and_at_10_000_stored_examples(pasts: list[Stored]) -> None:
    for number in range(POLICY.min_new_examples):
        first, *others = [await past.requests_of(f"new-{number}") for past in pasts]
        assert others == [first] * len(others)
        completes_batch = number == POLICY.min_new_examples - 1
        assert first == [
            "get state.json",
            "get key.json",
            "get examples",
            "get contents",
            "get consents",
            "swap state.json",
            "create examples",
            *(["swap state.json"] if completes_batch else []),
        ]


async def test_a_new_version_of_a_stored_example_sends_the_same_requests_at_every_size(pasts: list[Stored]) -> None:
    first, *others = [await past.requests_of("stored-7", version=2) for past in pasts]
    assert others == [first] * len(others)
    assert "swap examples" in first
    assert "list contents" in first, "the text of the version before is erased"
