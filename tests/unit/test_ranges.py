"""A sealed object that is downloaded in ranges: what is in the file is authentic, whatever comes when."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from tenancy.errors import SealBroken, StoreUnavailable
from tenancy.storage import ranges
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.ranges import AT_ONCE, RangeBuffers, opened_in_ranges
from tenancy.storage.sealing import FRAME_BYTES, HEADER_BYTES, SEALED_FRAME_BYTES, seal

T = TypeVar("T")

KEY, NAME = bytes(range(32)), "tenants/t1/adapters/d/f"
RANGE_FRAMES = 2
RANGE = RANGE_FRAMES * FRAME_BYTES
SIZES = [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, RANGE, RANGE + 1, 3 * RANGE + 5]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_FRAMES", RANGE_FRAMES)


@dataclass
class Backwards(MemoryObjectStore):
    """Of the ranges that are under way, the last one comes first. ``failing``: where a range starts that does not."""

    failing: int = -1
    waiting: list[asyncio.Event] = field(default_factory=list)
    most: int = 0

    async def read_range(self, key: str, start: int, into: memoryview, consume: Callable[[memoryview, int], T]) -> T:
        turn = asyncio.Event()
        self.waiting.append(turn)
        self.most = max(self.most, len(self.waiting))
        for _ in range(4):
            await asyncio.sleep(0)
        self.waiting[-1].set()
        await turn.wait()
        self.waiting.remove(turn)
        if self.waiting:
            self.waiting[-1].set()
        if start == self.failing:
            raise StoreUnavailable("this range fails")
        return await super().read_range(key, start, into, consume)


async def read(objects: MemoryObjectStore, path: Path, buffers: RangeBuffers | None = None) -> str:
    """The hash of what came in order, after the file was whole."""
    sha256 = hashlib.sha256()
    async with opened_in_ranges(objects, KEY, NAME, path, sha256.update, buffers or RangeBuffers()):
        whole = await asyncio.to_thread(lambda: hashlib.sha256(path.read_bytes()).hexdigest())
    assert sha256.hexdigest() == whole
    return whole


@pytest.mark.parametrize("size", SIZES)
async def test_the_file_is_the_object_and_its_bytes_are_followed_in_order(size: int, tmp_path: Path) -> None:
    plain, objects = secrets.token_bytes(size), Backwards()
    await objects.put(NAME, seal(KEY, NAME, plain))
    assert await read(objects, tmp_path / "f") == hashlib.sha256(plain).hexdigest()
    assert objects.most == min(AT_ONCE, max(1, -(-size // RANGE) - 1))


@pytest.mark.parametrize("frame", range(3))
async def test_a_frame_that_was_changed_is_not_written_and_breaks_the_seal(frame: int, tmp_path: Path) -> None:
    objects, at = MemoryObjectStore(), HEADER_BYTES + frame * RANGE_FRAMES * SEALED_FRAME_BYTES
    sealed = bytearray(seal(KEY, NAME, b"\x01" * (3 * RANGE)))
    sealed[at] ^= 1
    await objects.put(NAME, bytes(sealed))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")
    written = await asyncio.to_thread((tmp_path / "f").read_bytes)
    assert not written[frame * RANGE : frame * RANGE + FRAME_BYTES].strip(b"\0")


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
    await objects.put(NAME, change(seal(KEY, NAME, b"\x01" * (RANGE + 2 * FRAME_BYTES))))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")


async def test_an_object_that_was_replaced_between_two_ranges_breaks_the_seal(tmp_path: Path) -> None:
    class Replacing(MemoryObjectStore):
        async def read_range(
            self, key: str, start: int, into: memoryview, consume: Callable[[memoryview, int], T]
        ) -> T:
            if start:
                await self.put(NAME, seal(KEY, NAME, b"\x02" * (2 * RANGE)))
            return await super().read_range(key, start, into, consume)

    objects = Replacing()
    await objects.put(NAME, seal(KEY, NAME, b"\x01" * (2 * RANGE)))
    with pytest.raises(SealBroken):
        await read(objects, tmp_path / "f")


async def test_a_range_that_fails_ends_the_download_once_the_others_are_over(tmp_path: Path) -> None:
    objects = Backwards(failing=HEADER_BYTES + RANGE_FRAMES * SEALED_FRAME_BYTES)
    await objects.put(NAME, seal(KEY, NAME, bytes(4 * RANGE)))
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(read(objects, tmp_path / "f"), 30.0)
    assert objects.waiting == []


async def test_what_follows_and_fails_is_told(tmp_path: Path) -> None:
    objects = MemoryObjectStore()
    await objects.put(NAME, seal(KEY, NAME, b"x"))

    def refuse(_: memoryview) -> None:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        async with opened_in_ranges(objects, KEY, NAME, tmp_path / "f", refuse, RangeBuffers()):
            pass


async def test_the_next_download_has_the_same_memory_in_which_nothing_opened_is_left(tmp_path: Path) -> None:
    objects, buffers = Backwards(), RangeBuffers()
    await objects.put(NAME, seal(KEY, NAME, b"\x01" * (6 * RANGE)))
    await read(objects, tmp_path / "f", buffers)
    kept = {id(buffer) for buffer in buffers._kept}
    assert len(kept) == AT_ONCE + 1
    assert not any(bytes(buffer.opened).strip(b"\0") for buffer in buffers._kept)
    await read(objects, tmp_path / "g", buffers)
    assert {id(buffer) for buffer in buffers._kept} == kept
