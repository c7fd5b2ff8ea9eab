"""Keeps a set of offsets as ranges, so that what lies together costs two numbers however much it is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class OffsetRanges:
    """Offsets, as ranges of a first one and the one behind the last, in their order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        """How many ranges they are."""
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._ends[at]

    def meet(self, start: int, end: int) -> bool:
        """Whether any of them is from ``start`` to before ``end``."""
        return bisect_right(self._ends, start) < bisect_left(self._starts, end)

    @property
    def lowest(self) -> int | None:
        return self._starts[0] if self._starts else None

    def append(self, offset: int) -> None:
        """Add an offset behind all others."""
        if self._ends and self._ends[-1] == offset:
            self._ends[-1] += 1
        else:
            self._starts.append(offset)
            self._ends.append(offset + 1)

    def remove(self, start: int, end: int) -> int:
        """Remove the offsets from ``start`` to before ``end``; how many there were."""
        first, behind = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= behind:
            return 0
        met = list(zip(self._starts[first:behind], self._ends[first:behind], strict=True))
        before, after = (met[0][0], start), (end, met[-1][1])
        kept = [(low, high) for low, high in (before, after) if low < high]
        self._starts[first:behind] = [low for low, _ in kept]
        self._ends[first:behind] = [high for _, high in kept]
        return sum(min(high, end) - max(low, start) for low, high in met)
