"""The sweep of a prefix: everything goes, in bounded memory and requests, whatever the pages of the listing are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from consumers.purge.roots import SweepTarget
from consumers.purge.sweep import IN_FLIGHT, sweep
from tenancy.errors import DeletionRefused, Refused, StoreUnavailable
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import BATCH, Batch, ObjectVersion, Upload

PREFIX = "tenants/t1/"
EVERYTHING = SweepTarget("objects", PREFIX)


@dataclass
class PagedStore(MemoryObjectStore):
    """Lists in pages, each asked for by the last version of the page before. One that is gone ends the listing."""

    page: int = BATCH
    listed: int = 0
    deleted: int = 0
    most_held: int = 0
    deleting: int = 0
    most_deleting: int = 0
    refuses: tuple[str, ...] = ()
    fails_after: int | None = None
    denied: bool = False
    batches: list[int] = field(default_factory=list)

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        last: ObjectVersion | None = None
        while True:
            found = [version async for version in super().versions(prefix)]
            if last is not None:
                at = next((n for n, v in enumerate(found) if v.version_id == last.version_id), len(found))
                found = found[at + 1 :]
            if not found:
                return
            last = found[: self.page][-1]
            for version in found[: self.page]:
                self.listed += 1
                self.most_held = max(self.most_held, self.listed - self.deleted)
                yield version

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        self.deleting += 1
        self.most_deleting = max(self.most_deleting, self.deleting)
        self.batches.append(len(versions))
        number = len(self.batches)
        await asyncio.sleep(0)
        self.deleting -= 1
        if self.fails_after is not None and number > self.fails_after:
            raise StoreUnavailable("out of reach")
        if self.denied and number == 1:
            raise Refused("object-store-refused", "refused: this request")
        kept = [version for version in versions if version.key in self.refuses]
        await super().delete_versions([version for version in versions if version not in kept])
        self.deleted += len(versions)
        if kept:
            raise DeletionRefused((version.key, "locked") for version in kept)


@dataclass
class Noted:
    """What a sweep said before it removed it."""

    seen: list[Batch[ObjectVersion] | Batch[Upload]] = field(default_factory=list)

    async def versions(self, batch: Batch[ObjectVersion]) -> None:
        self.seen.append(batch)

    async def uploads(self, batch: Batch[Upload]) -> None:
        self.seen.append(batch)


async def filled(store: PagedStore, versions: int) -> PagedStore:
    """Two versions of each key, every tenth of them under a delete marker."""
    for number in range(versions // 2):
        await store.put(f"{PREFIX}examples/{number:06}", b"one")
        if number % 10 == 0:
            await store.delete(f"{PREFIX}examples/{number:06}")
        else:
            await store.put(f"{PREFIX}examples/{number:06}", b"two")
    store.open_uploads = [Upload(f"{PREFIX}runs/{number}", f"u{number}") for number in range(3)]
    return store


@pytest.mark.parametrize("page", [BATCH, 999, 250])
@pytest.mark.parametrize("versions", [0, 2, BATCH, BATCH + 2, 3 * BATCH, 5 * BATCH + 134])
async def test_a_listing_whose_place_is_deleted_under_it_still_ends_with_everything_gone(
    page: int, versions: int
) -> None:
    store = await filled(PagedStore(page=page), versions)
    await store.put("tenants/t10/examples/1", b"another tenant's")
    count = Noted()
    await sweep(store, EVERYTHING, count)
    assert list(store.objects) == ["tenants/t10/examples/1"]
    assert store.open_uploads == []
    assert [len(batch.items) for batch in count.seen if batch.is_whole] == [len(batch.items) for batch in count.seen]
    keys = [item.key for batch in count.seen for item in batch.items]
    assert keys[:versions] == [f"{PREFIX}examples/{number // 2:06}" for number in range(versions)]
    assert keys[versions:] == [f"{PREFIX}runs/{number}" for number in range(3)]


async def test_what_is_held_and_what_is_asked_at_a_time_do_not_grow_with_the_tenant() -> None:
    held = {}
    for versions in (10 * BATCH, 20 * BATCH):
        store = await filled(PagedStore(), versions)
        await sweep(store, EVERYTHING)
        held[versions] = store.most_held
        assert 1 < store.most_deleting <= IN_FLIGHT, "deletions overlap, and not without bound"
        assert set(store.batches) == {BATCH}
    assert held[10 * BATCH] == held[20 * BATCH] <= (IN_FLIGHT + 2) * BATCH


async def test_only_superseded_versions_go_where_the_current_one_stays() -> None:
    store = PagedStore()
    for number in range(2 * BATCH + 5):
        await store.put(f"{PREFIX}state.json", str(number).encode())
    await sweep(store, SweepTarget("states", f"{PREFIX}state.json", keeps_current=True))
    assert [version.body for version in store.objects[f"{PREFIX}state.json"]] == [str(2 * BATCH + 4).encode()]


async def test_what_the_store_keeps_is_said_after_everything_else_is_gone() -> None:
    locked = (f"{PREFIX}examples/000003", f"{PREFIX}examples/001999")  # in the first batch and in the last
    store = await filled(PagedStore(refuses=locked), 4 * BATCH)
    assert await sweep(store, EVERYTHING) == {"objects.examples": ("locked", 4)}, "two versions of each"
    assert sorted(store.objects) == sorted(locked)
    assert store.open_uploads == []


async def test_a_request_that_is_refused_as_a_whole_is_said_after_everything_else_is_gone() -> None:
    store = await filled(PagedStore(denied=True), 4 * BATCH)
    assert await sweep(store, EVERYTHING) == {"objects.examples": ("object-store-refused", BATCH)}
    assert sum(map(len, store.objects.values())) == BATCH
    assert store.open_uploads == []


async def test_a_store_that_is_out_of_reach_ends_the_sweep_and_nothing_of_it_goes_on() -> None:
    store = await filled(PagedStore(fails_after=2), 8 * BATCH)
    with pytest.raises(StoreUnavailable):
        await sweep(store, EVERYTHING)
    assert store.deleting == 0
    asked = len(store.batches)
    await asyncio.sleep(0.01)
    assert len(store.batches) == asked <= 2 + IN_FLIGHT
    assert store.open_uploads, "what comes after was not begun"
    store.fails_after = None
    await sweep(store, EVERYTHING)
    assert store.objects == {}
