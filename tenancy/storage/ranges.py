"""Downloads a sealed object in ranges side by side, and opens it into a file while it arrives.

Ranges are received side by side and opened in their order, by one thread: a frame is opened into a buffer and written
from there, while it lies in the processor's cache. It is written only if it is authentic. All of it uses the same few
buffers again and again: memory that is new costs several times what is done with it, and however large the object, no
more of it is needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from tenancy.errors import SealBroken
from tenancy.platform.concurrency import finished
from tenancy.storage.objects import ObjectStore, Range
from tenancy.storage.sealing import FRAME_BYTES, HEADER_BYTES, OTHERWISE, SEALED_FRAME_BYTES, Frames

RANGE_BYTES = 4 * 2**20
"""Counted from the object's first byte: stores keep an object in pieces of 4 or 8 MiB, and a range that lies in two of
them costs both. A request costs half a millisecond of processor time, and S3 gives more by several connections than by
one.
"""
AT_ONCE = 4
"""Ranges of one object that are received while another one is opened."""
BUFFERS = AT_ONCE + 2
"""As many ranges, the one that is opened, and what it is opened with."""
_ZEROS = bytes(FRAME_BYTES)


@dataclass
class RangeBuffers:
    """Keeps the buffers of one download for the next one, of :data:`RANGE_BYTES` each, and the size of its object: the
    next one is likely as large.
    """

    _kept: list[memoryview] = field(default_factory=list)
    object_bytes: int = 0

    def take(self) -> memoryview:
        return self._kept.pop() if self._kept else memoryview(bytearray(RANGE_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        """Only once nobody writes into it any more, also no thread that nobody waits for."""
        if len(self._kept) < BUFFERS:
            self._kept.append(buffer)


async def opened_in_ranges(
    objects: ObjectStore,
    data_key: Callable[[], Awaitable[bytes]],
    key: str,
    file: BinaryIO,
    buffers: RangeBuffers,
) -> None:
    """Write the opened object over what ``file`` holds, and close it: whole and authentic when this returns.

    ``data_key`` is asked for once the first range is here. Raises what it raises, :class:`ObjectNotFound`,
    :class:`SealBroken`, :class:`StoreUnavailable` and ``OSError``; the file is for the caller to remove then.
    """
    memory = buffers.take()
    try:
        with file:
            async with aclosing(_received(objects, key, buffers)) as ranges:
                sealed, size = await anext(ranges)
                frames = Frames(await data_key(), key, bytes(sealed[:HEADER_BYTES]), size)
                opening = _Opening(frames, file, memory)
                await _in_a_thread(opening.add, sealed[HEADER_BYTES:])
                async for sealed, _ in ranges:
                    await _in_a_thread(opening.add, sealed)
            opening.require_whole()
            file.truncate()
    finally:
        memory[:FRAME_BYTES] = _ZEROS
        buffers.give_back(memory)


async def _in_a_thread(call: Callable[..., None], *given: memoryview) -> None:
    """To its end, also where the caller is cancelled: it uses the file, and memory that is given back."""
    await finished(asyncio.to_thread(call, *given))


async def _received(
    objects: ObjectStore, key: str, buffers: RangeBuffers
) -> AsyncGenerator[tuple[memoryview, int], None]:
    """The object's ranges in their order, each until the next one is asked for, and the object's size. How many there
    are is not known before the first one is here: as many are asked for as the last object had.
    """

    async def read(start: int) -> tuple[memoryview, Range]:
        buffer = buffers.take()
        return buffer, await objects.read_range(key, start, buffer)

    guessed = range(0, max(1, buffers.object_bytes), RANGE_BYTES)[:AT_ONCE]
    coming = deque(asyncio.create_task(read(start)) for start in guessed)
    behind_the_end: list[asyncio.Task[tuple[memoryview, Range]]] = []
    try:
        buffer, found = await coming.popleft()
        buffers.object_bytes = found.object_bytes
        starts = iter(range(RANGE_BYTES, found.object_bytes, RANGE_BYTES)[len(coming) :])
        while len(coming) * RANGE_BYTES >= max(1, found.object_bytes):
            behind_the_end.append(coming.pop())
        while True:
            coming.extend(asyncio.create_task(read(start)) for start in islice(starts, AT_ONCE - len(coming)))
            yield buffer[: found.length], found.object_bytes
            buffers.give_back(buffer)
            if not coming:
                return
            buffer, found = await coming.popleft()
    finally:
        for task in (*coming, *behind_the_end):
            task.cancel()
        await asyncio.gather(*coming, *behind_the_end, return_exceptions=True)


class _Opening:
    """Opens frames that come in their order, cut anywhere. ``memory`` begins with what is opened."""

    def __init__(self, frames: Frames, file: BinaryIO, memory: memoryview) -> None:
        self._frames, self._file = frames, file
        self._opened, self._cut = memory[:FRAME_BYTES], memory[FRAME_BYTES : FRAME_BYTES + SEALED_FRAME_BYTES]
        self._held = 0  # bytes in _cut, of a frame whose rest has not come
        self._number = 0  # of the next frame

    def add(self, sealed: memoryview) -> None:
        while sealed and self._number < self._frames.count:
            frame = self._cut[: self._frames.sealed_bytes(self._number)]
            if self._held or len(sealed) < len(frame):
                part = sealed[: len(frame) - self._held]
                frame[self._held : self._held + len(part)] = part
                self._held = (self._held + len(part)) % len(frame)
                if self._held:
                    return
            else:
                part = frame = sealed[: len(frame)]
            self._open(frame)
            sealed = sealed[len(part) :]

    def require_whole(self) -> None:
        """Raises :class:`SealBroken` for less than the object's size promised."""
        if self._number < self._frames.count:
            raise SealBroken(OTHERWISE)

    def _open(self, frame: memoryview) -> None:
        opened = self._frames.open_into(self._number, frame, self._opened)
        self._number += 1
        self._file.write(opened)
