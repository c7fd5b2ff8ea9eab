"""What a partition's commits say: never past a record that has not ended, and exactly which ended behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.offsets import METADATA_CHARACTERS, Committed, Ended, PartitionOffsets, decoded, encoded


class Log:
    """A partition's records, some offsets of which are nobody's, and what Kafka was told of it."""

    def __init__(self, offsets: list[int]) -> None:
        self.offsets = offsets
        self.place = Committed(offsets[0] if offsets else 0)
        self.ended: list[int] = []

    def process(self) -> tuple[PartitionOffsets, list[int]]:
        """A new process: what it reads from the committed place on, and must handle."""
        made = PartitionOffsets(decoded(self.place))
        handled = [o for o in self.offsets if o >= self.place.offset and made.take(o, 1000 + o)]
        return made, handled

    def commit(self, held: PartitionOffsets) -> None:
        place = held.committable()
        if place is not None:
            held.committed(place)
            self.place = place


def test_what_is_committed_is_the_lowest_offset_that_has_not_ended() -> None:
    log = Log([0, 1, 2, 3])
    held, _ = log.process()
    assert held.committable() == Committed(0)
    for offset, lowest in ((2, 0), (0, 1), (1, 3), (3, 4)):
        held.end(offset)
        log.commit(held)
        assert log.place.offset == lowest
        assert held.committable() is None, "it is committed"
    assert log.place == Committed(4)


@given(
    st.sets(st.integers(0, 60), min_size=1).map(sorted),
    st.lists(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12), max_size=5),
)
def test_a_commit_never_passes_a_record_that_has_not_ended_and_a_crash_repeats_exactly_what_had_not(
    offsets: list[int], lives: list[list[tuple[int, bool]]]
) -> None:
    """Lives of processes, each of which ends some of its records in any order, commits now and then, and is killed."""
    log = Log(offsets)
    known: set[int] = set()  # ended, and committed
    for life in lives:
        held, handled = log.process()
        assert handled == [offset for offset in offsets if offset not in known]
        ended = set(known)
        for number, commits in life:
            left = [offset for offset in handled if offset not in ended]
            if left:
                held.end(left[number % len(left)])
                ended.add(left[number % len(left)])
            if commits:
                log.commit(held)
                known = set(ended)
                assert all(offset in known for offset in offsets if offset < log.place.offset)
    assert log.process()[1] == [offset for offset in offsets if offset not in known]


@given(st.data())
def test_a_crash_before_all_is_read_again_repeats_nothing_that_had_ended(data: st.DataObject) -> None:
    log = Log(list(range(20)))
    known: set[int] = set()
    for _ in range(3):
        held, ended = PartitionOffsets(decoded(log.place)), set(known)
        for offset in range(log.place.offset, data.draw(st.integers(log.place.offset, 20))):
            is_new = held.take(offset, 1000 + offset)
            assert is_new == (offset not in known)
            if is_new and data.draw(st.booleans()):
                held.end(offset)
                ended.add(offset)
            if data.draw(st.booleans()):
                before = log.place
                log.commit(held)
                known = set(ended) if log.place != before else known
    assert log.process()[1] == [offset for offset in range(20) if offset not in known]


@given(st.integers(0, 2**62), st.integers(0, 2**42), st.lists(st.integers(1, 2**40), min_size=1, max_size=8))
def test_metadata_says_what_was_written(lowest: int, timestamp: int, runs: list[int]) -> None:
    ended = Ended(lowest, timestamp, tuple(runs))
    assert decoded(Committed(lowest, encoded(ended))) == ended


def test_metadata_that_has_no_room_for_everything_repeats_the_rest() -> None:
    held = PartitionOffsets()
    for offset in range(20_000):
        held.take(offset, offset)
    for offset in range(1, 20_000, 2):
        held.end(offset)
    place = held.committable()
    assert place is not None
    assert len(place.metadata) <= METADATA_CHARACTERS
    ended = decoded(place)
    assert ended is not None
    assert all(offset % 2 for offset in range(20_000) if offset in ended), "what has not ended is never said to have"
    assert 1_000 < ended.end < 20_000


@pytest.mark.parametrize("metadata", ["", "x", "some words of another client", "gA==", "AA=="])
def test_metadata_of_somebody_else_says_nothing(metadata: str) -> None:
    assert decoded(Committed(5, metadata)) is None


@pytest.mark.parametrize(("offset", "timestamp"), [(0, 1000), (1, 1001), (0, 77), (3, 1003)])
def test_what_is_known_of_another_topic_of_that_name_or_of_another_place_is_not_believed(
    offset: int, timestamp: int
) -> None:
    held = PartitionOffsets(Ended(0, 1000, (1, 5)))
    assert held.take(offset, timestamp)
    assert held.take(4, 1004) == ((offset, timestamp) != (0, 1000))
