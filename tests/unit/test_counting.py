"""What a purge removes is counted once: whatever ends a sweep, and whoever else sweeps beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.purge.counting import SweepCount, listed, sweep_ended
from consumers.purge.roots import SweepTarget
from consumers.purge.sweep import sweep
from consumers.purge.waiting import Waiting
from schemas.objects.purges import PurgeRecord, StoreCount
from tenancy.errors import StoreUnavailable
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.storage import objects as batching
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion, Upload

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ROOT = SweepTarget("objects", "tenants/t1/")
SMALL = 4
AREAS = ("examples", "runs", "elsewhere")


@pytest.fixture(autouse=True)
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "BATCH", SMALL)
        yield


@dataclass
class EndingStore(MemoryObjectStore):
    """A store at which the process ends: in the middle of its request number ``ends_at``, or after it."""

    ends_at: int = 0
    after: bool = False
    requests: int = 0

    def arm(self, ends_at: int, *, after: bool) -> None:
        self.ends_at, self.after, self.requests = ends_at, after, 0

    def disarm(self) -> None:
        self.arm(0, after=False)

    @contextmanager
    def _request(self) -> Iterator[Literal["whole", "half", "not"]]:
        """How much of the request is done. A process that has ended asks for nothing more."""
        self.requests += 1
        number = self.requests
        has_ended = 0 < self.ends_at < number
        ends = number == self.ends_at
        yield "not" if has_ended else "half" if ends and not self.after else "whole"
        if ends or has_ended:
            raise StoreUnavailable("the process ended here")

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        with self._request() as done:
            await asyncio.sleep(0)
            await super().delete_versions({"whole": versions, "half": versions[::2], "not": ()}[done])

    async def abort_upload(self, upload: Upload) -> None:
        with self._request() as done:
            if done == "whole":
                await super().abort_upload(upload)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        with self._request() as done:
            await asyncio.sleep(0)
            return await super().put(key, body, if_absent=if_absent, if_match=if_match) if done == "whole" else ""


@dataclass
class Purge:
    """A purge at its sweep."""

    objects: EndingStore = field(default_factory=EndingStore)

    @property
    def records(self) -> PurgeRecords:
        return PurgeRecords(self.objects, lambda: NOW)

    async def begin(self) -> None:
        record = PurgeRecord(
            purge_id="p1",
            tenant="t1",
            step="evicted",
            requested_at=NOW,
            requested_by="op",
            reason_code="churned",
            deadline=NOW,
            sla_days=30,
            moved_at=NOW,
            sweeps=0,
        )
        await self.records.create(record)

    async def read(self) -> PurgeRecord:
        return await self.records.read("t1", "p1")

    async def sweep(self, number: int | None = None) -> None:
        number = (await self.read()).sweeps if number is None else number
        assert number is not None
        await sweep(self.objects, ROOT, SweepCount(self.objects, self.records, "t1", "p1", ROOT, number))

    async def end_sweep(self) -> None:
        await self.records.note("t1", "p1", sweep_ended((await self.read()).sweeps))


def as_numbers(counts: tuple[StoreCount, ...]) -> dict[str, tuple[int, int, int, int, int | None]]:
    return {c.store: (c.objects, c.versions, c.delete_markers, c.uploads, c.size_bytes) for c in counts if c.total}


History = list[tuple[str, int, str]]
"""Area, number of the key in it, and what is done to it: a write, a deletion, or an upload that stays open."""

histories = st.lists(
    st.tuples(st.sampled_from(AREAS), st.integers(0, 5), st.sampled_from(("write", "write", "delete", "upload"))),
    min_size=8,
    max_size=60,
)


async def lived(purge: Purge, history: History) -> None:
    uploads: Counter[str] = Counter()
    for area, number, what in history:
        key = f"{ROOT.prefix}{area}/k{number}"
        if what == "write":
            await purge.objects.put(key, b"x" * (number + 1))
        elif what == "delete":
            await purge.objects.delete(key)
        else:
            uploads[key] += 1
            purge.objects.open_uploads.append(Upload(key, f"u{uploads[key]}"))


@given(history=histories, ends=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4))
def test_a_sweep_that_ends_anywhere_and_is_begun_again_counts_everything_once(
    history: History, ends: list[tuple[int, bool]]
) -> None:
    async def check() -> None:
        purge = Purge()
        await purge.begin()
        await lived(purge, history)
        expected = as_numbers(await listed(purge.objects, ROOT))
        for ends_at, after in ends:
            purge.objects.arm(ends_at, after=after)
            try:
                await purge.sweep()
            except StoreUnavailable:
                continue
        purge.objects.disarm()
        await purge.sweep()
        assert purge.objects.open_uploads == []
        assert list(purge.objects.objects) == ["work/purges/t1/open", "purges/t1/p1.json"]
        record = await purge.read()
        assert (as_numbers(record.found), record.late) == (expected, ())

    asyncio.run(check())


@given(history=histories, lag=st.integers(0, 30))
def test_two_processes_that_sweep_at_once_count_everything_once(history: History, lag: int) -> None:
    async def later(purge: Purge) -> None:
        for _ in range(lag):
            await asyncio.sleep(0)
        await purge.sweep(0)

    async def check() -> None:
        purge = Purge()
        await purge.begin()
        await lived(purge, history)
        expected = as_numbers(await listed(purge.objects, ROOT))
        await asyncio.gather(purge.sweep(0), later(purge))
        assert list(purge.objects.objects) == ["work/purges/t1/open", "purges/t1/p1.json"]
        assert as_numbers((await purge.read()).found) == expected

    asyncio.run(check())


async def test_what_a_later_sweep_finds_came_late_and_is_counted_apart() -> None:
    purge = Purge()
    await purge.begin()
    await lived(purge, [("examples", 1, "write"), ("runs", 1, "write")])
    await purge.sweep()
    await purge.end_sweep()
    await lived(purge, [("examples", 0, "write"), ("examples", 0, "write")])
    purge.objects.arm(1, after=True)  # the note is written and the process ends
    with pytest.raises(StoreUnavailable):
        await purge.sweep()
    purge.objects.disarm()
    await purge.sweep()
    await purge.end_sweep()
    record = await purge.read()
    assert as_numbers(record.found) == {"objects.examples": (1, 1, 0, 0, 2), "objects.runs": (1, 1, 0, 0, 2)}
    assert as_numbers(record.late) == {"objects.examples": (1, 2, 0, 0, 2)}
    assert (record.sweeps, record.counted_through) == (2, {})


async def test_a_process_whose_sweep_another_completed_counts_and_removes_nothing_more() -> None:
    purge = Purge()
    await purge.begin()
    await lived(purge, [("examples", number, "write") for number in range(3)])
    await purge.end_sweep()
    with pytest.raises(Waiting, match="another process completed this sweep"):
        await purge.sweep(0)
    assert len(purge.objects.objects) == 5
    assert (await purge.read()).found == ()


MANY_KEYS: History = [(area, number, "write") for area in AREAS for number in range(6)]
LONG_KEY: History = [("examples", 1, "write")] + [("runs", 2, "write"), ("runs", 2, "upload")] * (3 * SMALL)


@pytest.mark.parametrize(
    ("history", "runs"),
    [(MANY_KEYS, (6, 6, 0, 0, 21)), (LONG_KEY, (1, 12, 0, 12, 36))],
    ids=["many keys", "a long key"],
)
async def test_whatever_request_a_sweep_ends_at_everything_is_counted_once(
    history: History, runs: tuple[int, ...]
) -> None:
    clean = Purge()
    await clean.begin()
    await lived(clean, history)
    clean.objects.disarm()
    await clean.sweep()
    assert as_numbers((await clean.read()).found)["objects.runs"] == runs
    for ends_at in range(1, clean.objects.requests + 1):
        for after in (False, True):
            purge = Purge()
            await purge.begin()
            await lived(purge, history)
            purge.objects.arm(ends_at, after=after)
            with pytest.raises(StoreUnavailable):
                await purge.sweep()
            purge.objects.disarm()
            await purge.sweep()
            assert (await purge.read()).found == (await clean.read()).found
