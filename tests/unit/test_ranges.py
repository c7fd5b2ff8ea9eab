"""A sealed object that is downloaded in ranges: what is in the file is authentic, whatever comes when."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tenancy.errors import Refused, SealBroken, StoreUnavailable
from tenancy.storage import ranges
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import Range
from tenancy.storage.ranges import AT_ONCE, BUFFERS, RangeBuffers, opened_in_ranges
from tenancy.storage.sealing import FRAME_BYTES, HEADER_BYTES, SEALED_FRAME_BYTES, seal

BOUND_SECONDS = 30.0
KEY, NAME = bytes(range(32)), "tenants/t1/adapters/d/f"
RANGE = 2 * SEALED_FRAME_BYTES + 1000  # frames are cut
OF_TWO = 2 * FRAME_BYTES
SIZES = [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, OF_TWO, OF_TWO + 1000, 7 * FRAME_BYTES + 5]
SIZES += [RANGE - HEADER_BYTES - 3 * 16 + more for more in (-1, 0, 1)]  # sealed: a range, or almost


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", RANGE)


@dataclass
class Backwards(MemoryObjectStore):
    """Of the ranges that are under way, the last one comes first. ``failing``: where a range starts that does not."""

    failing: int = -1
    waiting: list[asyncio.Event] = field(default_factory=list)
    most: int = 0

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        turn = asyncio.Event()
        self.waiting.append(turn)
        self.most = max(self.most, len(self.waiting))
        try:
            for _ in range(4):
                await asyncio.sleep(0)
            self.waiting[-1].set()
            await turn.wait()
        finally:
            self.waiting.remove(turn)
            if self.waiting:
                self.waiting[-1].set()
        if start == self.failing:
            raise StoreUnavailable("this range fails")
        return await super().read_range(key, start, into)


@dataclass
class Bounded(MemoryObjectStore):
    """Refuses a range behind the object's end, as S3 does, and says how many were asked for before the first came."""

    waiting: int = 0
    at_once: int = 0

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        self.waiting += 1
        try:
            await asyncio.sleep(0)
            if start == 0:
                self.at_once = self.waiting
            if start and start >= len((await self.get(key)).body):
                raise Refused("object-store-refused", "refused: InvalidRange")
            return await super().read_range(key, start, into)
        finally:
            self.waiting -= 1


async def data_key() -> bytes:
    return KEY


def begun(path: Path) -> BinaryIO:
    return path.open("r+b" if path.exists() else "xb")


async def read(objects: MemoryObjectStore, path: Path, buffers: RangeBuffers | None = None) -> bytes:
    """What the file holds."""
    await opened_in_ranges(objects, data_key, NAME, begun(path), buffers or RangeBuffers())
    return await asyncio.to_thread(path.read_bytes)


@pytest.mark.parametrize("size", SIZES)
async def test_the_file_is_the_object(size: int, tmp_path: Path) -> None:
    plain, objects = secrets.token_bytes(size), Backwards()
    sealed = seal(KEY, NAME, plain)
    await objects.put(NAME, sealed)
    assert await read(objects, tmp_path / "f") == plain
    assert objects.most == min(AT_ONCE, max(1, -(-len(sealed) // RANGE) - 1))


@pytest.mark.parametrize("last", SIZES)
@pytest.mark.parametrize("size", SIZES)
async def test_as_many_ranges_are_asked_for_at_first_as_the_last_object_had(
    size: int, last: int, tmp_path: Path
) -> None:
    objects, buffers, plain = Bounded(), RangeBuffers(), secrets.token_bytes(size)
    for name, body in (("last", bytes(last)), ("this", plain)):
        sealed = seal(KEY, NAME, body)
        await objects.put(NAME, sealed)
        of_last, objects.at_once = -(-buffers.object_bytes // RANGE), 0
        assert await read(objects, tmp_path / name, buffers) == body
    assert objects.at_once == max(1, min(AT_ONCE, of_last))
    assert objects.waiting == 0


@pytest.mark.parametrize("there", [0, 1, RANGE, 3 * RANGE])
async def test_a_file_that_is_there_is_written_over_and_has_the_size_of_the_object(there: int, tmp_path: Path) -> None:
    plain, objects, path = secrets.token_bytes(RANGE + 5), MemoryObjectStore(), tmp_path / "f"
    path.write_bytes(bytes(there))
    file = path.stat().st_ino
    await objects.put(NAME, seal(KEY, NAME, plain))
    assert await read(objects, path) == plain
    assert path.stat().st_ino == file


@pytest.mark.parametrize("frame", range(6))
async def test_a_frame_that_was_changed_is_not_written_and_breaks_the_seal(frame: int, tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    sealed = bytearray(seal(KEY, NAME, b"\x01" * (6 * FRAME_BYTES)))
    sealed[HEADER_BYTES + frame * SEALED_FRAME_BYTES] ^= 1
    await objects.put(NAME, bytes(sealed))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")
    written = await asyncio.to_thread((tmp_path / "f").read_bytes)
    assert written == b"\x01" * (frame * FRAME_BYTES)


def _cut_by_frame(sealed: bytes) -> bytes:
    return sealed[:-SEALED_FRAME_BYTES]


def _longer(sealed: bytes) -> bytes:
    return sealed + bytes(100)


def _frames_swapped(sealed: bytes) -> bytes:
    first, second = HEADER_BYTES + SEALED_FRAME_BYTES, HEADER_BYTES + 2 * SEALED_FRAME_BYTES
    return sealed[:HEADER_BYTES] + sealed[first:second] + sealed[HEADER_BYTES:first] + sealed[second:]


@pytest.mark.parametrize(
    "change", [_cut_by_frame, _longer, _frames_swapped, lambda sealed: sealed[: HEADER_BYTES + 5], lambda _: b"plain"]
)
async def test_an_object_that_is_cut_grown_or_reordered_breaks_the_seal(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    objects = MemoryObjectStore()
    await objects.put(NAME, change(seal(KEY, NAME, b"\x01" * (4 * FRAME_BYTES))))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")


@pytest.mark.parametrize("size", [FRAME_BYTES, 2 * FRAME_BYTES + 900, 4 * FRAME_BYTES, 5 * FRAME_BYTES])
async def test_an_object_that_was_replaced_between_two_ranges_breaks_the_seal(size: int, tmp_path: Path) -> None:
    class Replacing(MemoryObjectStore):
        async def read_range(self, key: str, start: int, into: memoryview) -> Range:
            if start:
                await self.put(NAME, seal(KEY, NAME, b"\x02" * size))
            return await super().read_range(key, start, into)

    objects = Replacing()
    await objects.put(NAME, seal(KEY, NAME, b"\x01" * (4 * FRAME_BYTES)))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")


async def test_a_range_that_fails_ends_the_download_and_those_beside_it(tmp_path: Path) -> None:
    objects = Backwards(failing=2 * RANGE)
    await objects.put(NAME, seal(KEY, NAME, bytes(16 * FRAME_BYTES)))
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(read(objects, tmp_path / "f"), BOUND_SECONDS)
    assert objects.waiting == []


class Stuck(BytesIO):
    """A file that holds up the thread that opens."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def write(self, part: Any, /) -> int:
        self.entered.set()
        self.leave.wait(BOUND_SECONDS)
        return len(part)


async def test_a_cancelled_download_ends_when_nothing_opens_or_writes_any_more() -> None:
    objects, buffers, stuck = Backwards(), RangeBuffers(), Stuck()
    await objects.put(NAME, seal(KEY, NAME, b"\x01" * FRAME_BYTES))
    reading = asyncio.create_task(opened_in_ranges(objects, data_key, NAME, stuck, buffers))
    assert await asyncio.to_thread(stuck.entered.wait, BOUND_SECONDS)
    reading.cancel()
    await asyncio.wait([reading], timeout=0.1)
    assert not reading.done()
    stuck.leave.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(reading, BOUND_SECONDS)
    assert objects.waiting == []
    assert not any(bytes(buffer[:FRAME_BYTES]).strip(b"\0") for buffer in buffers._kept), "what was opened"


async def test_a_file_that_takes_no_more_is_told() -> None:
    class Full(BytesIO):
        def write(self, part: Any, /) -> int:
            raise OSError("no more")

    objects = MemoryObjectStore()
    await objects.put(NAME, seal(KEY, NAME, b"x"))
    with pytest.raises(OSError, match="no more"):
        await opened_in_ranges(objects, data_key, NAME, Full(), RangeBuffers())


async def test_the_next_download_has_the_same_memory_in_which_nothing_opened_is_left(tmp_path: Path) -> None:
    objects, buffers = Backwards(), RangeBuffers()
    await objects.put(NAME, seal(KEY, NAME, b"\x01" * (16 * FRAME_BYTES)))
    await read(objects, tmp_path / "f", buffers)
    kept = {id(buffer) for buffer in buffers._kept}
    assert len(kept) == BUFFERS
    assert not any(b"\x01" * 100 in bytes(buffer) for buffer in buffers._kept)
    await read(objects, tmp_path / "g", buffers)
    assert {id(buffer) for buffer in buffers._kept} == kept
