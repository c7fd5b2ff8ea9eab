"""Reads an HTTP body within a bound: what other people send may never end."""

from __future__ import annotations

from collections.abc import AsyncIterable

import httpx

PLAIN = {"Accept-Encoding": "identity"}
"""Headers of a request whose answer :func:`bounded_answer` reads."""


class BodyTooLong(ValueError):
    """It has more bytes than it may have."""


class BodyCompressed(ValueError):
    """It is compressed, though it was asked for as it is."""


async def bounded_body(pieces: AsyncIterable[bytes], most_bytes: int) -> bytes:
    """The body that comes in these pieces. Raises :class:`BodyTooLong`."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > most_bytes:
            raise BodyTooLong
    return bytes(body)


async def bounded_answer(answer: httpx.Response, most_bytes: int) -> bytes:
    """The body of a streamed answer. Raises :class:`BodyTooLong` and :class:`BodyCompressed`.

    httpx undoes as many compressions as an answer names, each of a whole piece at once: two of them make gigabytes of
    two kilobytes before anything could be counted.
    """
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise BodyCompressed
    return await bounded_body(answer.aiter_bytes(), most_bytes)
