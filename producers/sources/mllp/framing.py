"""Cuts a stream into MLLP frames: a start byte (0x0B), a payload, and the two end bytes (0x1C 0x0D)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

START, END = b"\x0b", b"\x1c\r"
CHUNK_BYTES = 65_536


class FrameTooLarge(Exception):
    """A frame that is longer than the bound. ``beginning`` is what came first of it."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__("a frame is longer than the bound")
        self.beginning = beginning


def framed(payload: bytes) -> bytes:
    return START + payload + END


async def frames(reader: asyncio.StreamReader, most_bytes: int, idle_seconds: float) -> AsyncIterator[bytes]:
    """Every whole payload, however the stream is cut into reads. What stands between frames is passed over.

    Ends with the stream, amid a frame too: that was not acknowledged, and its sender sends it again. Raises
    :class:`FrameTooLarge`, and :class:`TimeoutError` where nothing came for so long.
    """
    held = bytearray()
    searched = 0
    while True:
        start = held.find(START)
        if start < 0:
            held.clear()
        elif start:
            del held[:start]
        if held:
            end = held.find(END, max(1, searched - 1))
            if end >= 0:
                payload = bytes(held[1:end])
                del held[: end + len(END)]
                searched = 0
                if len(payload) > most_bytes:
                    raise FrameTooLarge(payload[:CHUNK_BYTES])
                yield payload
                continue
            searched = len(held)
            if len(held) > most_bytes + len(START):
                raise FrameTooLarge(bytes(held[1:CHUNK_BYTES]))
        async with asyncio.timeout(idle_seconds):
            chunk = await reader.read(CHUNK_BYTES)
        if not chunk:
            return
        held += chunk
