"""Ranges of offsets: a set of offsets that costs what its pieces cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.offset_ranges import OffsetRanges


def test_what_lies_together_is_one_piece() -> None:
    ranges = OffsetRanges()
    for offset in range(1000):
        ranges.append(offset)
    assert (len(ranges), list(ranges), ranges.lowest) == (1, [(0, 1000)], 0)
    ranges.remove(0, 1)
    assert (len(ranges), ranges.lowest) == (1, 1)
    ranges.remove(500, 501)
    assert list(ranges) == [(1, 500), (501, 1000)]


@given(
    st.sets(st.integers(0, 40)),
    st.lists(st.tuples(st.integers(0, 42), st.integers(0, 42)), max_size=8),
)
def test_they_are_the_set_that_they_stand_for(offsets: set[int], removed: list[tuple[int, int]]) -> None:
    ranges, model = OffsetRanges(), set(offsets)
    for offset in sorted(offsets):
        ranges.append(offset)
    for start, end in removed:
        gone = model & set(range(start, end))
        assert ranges.meet(start, end) == bool(gone)
        assert ranges.remove(start, end) == len(gone)
        model -= gone
        assert [offset for low, high in ranges for offset in range(low, high)] == sorted(model)
        assert {offset for offset in range(44) if offset in ranges} == model
        assert ranges.lowest == min(model, default=None)
        assert all(high < low for (_, high), (low, _) in zip(list(ranges), list(ranges)[1:], strict=False))
