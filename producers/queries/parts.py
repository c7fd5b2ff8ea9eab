"""Takes a listing a part at a time, so that what is shown of it costs the same however long it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """``following``: the last name of a part that others follow; None at the end."""

    names: list[str]
    following: str | None


async def part_of(listing: AsyncIterator[str], most: int | None) -> Part:
    """Take the first ``most`` names, or all of them where it is None."""
    names: list[str] = []
    async for name in listing:
        if len(names) == most:
            return Part(names, names[-1])
        names.append(name)
    return Part(names, None)
