"""Reads the body of an HTTP answer within a bound: what other people's servers send may never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


class BodyTooLong(ValueError):
    """The answer has more bytes than it may have."""


async def bounded_body(answer: httpx.Response, most_bytes: int) -> bytes:
    """The body of a streamed answer, inflated where it is compressed. Raises :class:`BodyTooLong`."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > most_bytes:
            raise BodyTooLong
    return bytes(body)
