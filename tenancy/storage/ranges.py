"""Downloads a sealed object in ranges side by side, and opens it into a file while it arrives.

A range holds whole frames, so whoever received it opens it at once: one frame at a time into a buffer, which is written
to the file only if the frame is authentic. Receiving and opening use the same few buffers again and again. Memory that
is new costs several times what is done with it, and however large the object, no more of it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tenancy.platform.concurrency import gathered
from tenancy.storage.objects import ObjectStore
from tenancy.storage.sealing import FRAME_BYTES, HEADER_BYTES, SEALED_FRAME_BYTES, Frames

RANGE_FRAMES = 4
"""4 MiB: a request costs a millisecond of processor time, and S3 gives more by several connections than by one."""
AT_ONCE = 4
"""Ranges of one object that are under way, so that what follows in order is not far behind."""
_ZEROS = bytes(FRAME_BYTES)


class RangeBuffer:
    """Memory for one range, sealed, and for one frame of it, opened."""

    def __init__(self) -> None:
        self.sealed = memoryview(bytearray(HEADER_BYTES + RANGE_FRAMES * SEALED_FRAME_BYTES))
        self.opened = memoryview(bytearray(FRAME_BYTES))


@dataclass
class RangeBuffers:
    """Keeps the buffers of one download for the next one; ``opened`` is overwritten before."""

    _kept: list[RangeBuffer] = field(default_factory=list)

    def take(self) -> RangeBuffer:
        return self._kept.pop() if self._kept else RangeBuffer()

    def give_back(self, buffer: RangeBuffer) -> None:
        """Only once nobody writes into it any more, also no thread that nobody waits for."""
        buffer.opened[:] = _ZEROS
        if len(self._kept) < AT_ONCE + 1:
            self._kept.append(buffer)


@asynccontextmanager
async def opened_in_ranges(
    objects: ObjectStore,
    data_key: bytes,
    key: str,
    path: Path,
    follow: Callable[[memoryview], object],
    buffers: RangeBuffers,
) -> AsyncIterator[None]:
    """Make the file ``path`` of the opened object, which is there, and authentic, where the block begins.

    ``follow`` is given its bytes in order as they come, off the event loop, and has had all of them where the block
    has ended. Raises :class:`ObjectNotFound`, :class:`SealBroken`, :class:`StoreUnavailable` and ``OSError``; the file
    is for the caller to remove then.
    """
    download = _Download(objects, data_key, key, path, buffers)
    frames = await download.begin()
    following = asyncio.create_task(download.follow(frames, follow))
    try:
        await gathered(
            (download.rest(frames, number) for number in range(1, _ranges(frames))),
            at_once=AT_ONCE,
        )
        yield
        await following
    finally:
        following.cancel()
        await asyncio.wait([following])


def _ranges(frames: Frames) -> int:
    return -(-frames.count // RANGE_FRAMES)


@dataclass
class _Download:
    objects: ObjectStore
    data_key: bytes
    key: str
    path: Path
    buffers: RangeBuffers
    _arrived: set[int] = field(default_factory=set)  # ranges that are in the file, beyond the first gap
    _in_order: int = 0  # ranges that are in the file, up to the first gap
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> Frames:
        """Read the first range, from which on it is known how many there are, and make the file."""
        buffer = self.buffers.take()

        def opened(sealed: memoryview, size: int) -> Frames:
            frames = Frames(self.data_key, self.key, bytes(sealed[:HEADER_BYTES]), size)
            self.path.open("xb").close()
            self._write(frames, 0, sealed[HEADER_BYTES:], buffer)
            return frames

        whole = HEADER_BYTES + RANGE_FRAMES * SEALED_FRAME_BYTES
        frames = await self.objects.read_range(self.key, 0, buffer.sealed[:whole], opened)
        self._came(0, buffer)
        return frames

    async def rest(self, frames: Frames, number: int) -> None:
        """Read another range."""
        buffer = self.buffers.take()
        start = HEADER_BYTES + number * RANGE_FRAMES * SEALED_FRAME_BYTES

        def opened(sealed: memoryview, size: int) -> None:
            self._write(frames, number, sealed, buffer)

        await self.objects.read_range(self.key, start, buffer.sealed[: RANGE_FRAMES * SEALED_FRAME_BYTES], opened)
        self._came(number, buffer)

    def _write(self, frames: Frames, number: int, sealed: memoryview, buffer: RangeBuffer) -> None:
        """In a thread. It opens the file by its path: one that nobody waits for any more may come when it is gone."""
        first = number * RANGE_FRAMES
        with self.path.open("r+b") as file:
            file.seek(first * FRAME_BYTES)
            for position in range(min(RANGE_FRAMES, frames.count - first)):
                begin = position * SEALED_FRAME_BYTES
                frame = sealed[begin : begin + SEALED_FRAME_BYTES]
                file.write(frames.open_into(first + position, frame, buffer.opened))

    def _came(self, number: int, buffer: RangeBuffer) -> None:
        self.buffers.give_back(buffer)
        self._arrived.add(number)
        while self._in_order in self._arrived:
            self._arrived.remove(self._in_order)
            self._in_order += 1
        self._grown.set()

    async def follow(self, frames: Frames, consume: Callable[[memoryview], object]) -> None:
        """Give what is in the file without a gap. No thread waits for what has not come."""
        buffer, done = self.buffers.take(), 0

        def given(begin: int, end: int) -> None:
            with self.path.open("rb", buffering=0) as file:
                file.seek(begin * RANGE_FRAMES * FRAME_BYTES)
                for _ in range(begin * RANGE_FRAMES, min(end * RANGE_FRAMES, frames.count)):
                    consume(buffer.opened[: file.readinto(buffer.opened)])

        while done < _ranges(frames):
            while self._in_order == done:
                self._grown.clear()
                await self._grown.wait()
            end = self._in_order
            await asyncio.to_thread(given, done, end)
            done = end
        self.buffers.give_back(buffer)
