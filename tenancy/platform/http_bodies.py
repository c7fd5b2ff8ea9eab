"""Reads an HTTP body within a bound: what other people send may never end."""

from __future__ import annotations

from collections.abc import AsyncIterable


class BodyTooLong(ValueError):
    """It has more bytes than it may have."""


async def bounded_body(pieces: AsyncIterable[bytes], most_bytes: int) -> bytes:
    """The body that comes in these pieces. Raises :class:`BodyTooLong`."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > most_bytes:
            raise BodyTooLong
    return bytes(body)
