"""Keeps a set of bounded size: the most recent values."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

REMEMBERED = 10_000
"""A megabyte or two of names, and more purges and retirements than come while one request is being answered."""


class RecentSet(Generic[T]):
    """The values that were added last, at most ``limit`` of them. Adding one again makes it the latest."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._values: dict[T, None] = {}  # in the order of adding

    def add(self, value: T) -> None:
        self._values.pop(value, None)
        self._values[value] = None
        if len(self._values) > self._limit:
            del self._values[next(iter(self._values))]

    def __contains__(self, value: T) -> bool:
        return value in self._values

    def __len__(self) -> int:
        return len(self._values)
