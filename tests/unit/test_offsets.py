"""What a partition's commits say: never past a record that has not ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.offsets import PartitionOffsets


class Log:
    """A partition's records, some offsets of which are nobody's, and what Kafka was told of it."""

    def __init__(self, offsets: list[int]) -> None:
        self.offsets = offsets
        self.place = offsets[0] if offsets else 0

    def process(self) -> tuple[PartitionOffsets, list[int]]:
        """A new process, and what it reads from the committed place on."""
        made = PartitionOffsets()
        handled = [offset for offset in self.offsets if offset >= self.place]
        for offset in handled:
            made.take(offset)
        return made, handled

    def commit(self, held: PartitionOffsets) -> None:
        place = held.committable()
        if place is not None:
            held.committed(place)
            self.place = place


def test_what_is_committed_is_the_lowest_offset_that_has_not_ended() -> None:
    log = Log([0, 1, 2, 3])
    held, _ = log.process()
    assert held.committable() == 0
    for offset, lowest in ((2, 0), (0, 1), (1, 3), (3, 4)):
        held.end(offset)
        log.commit(held)
        assert log.place == lowest
        assert held.committable() is None, "it is committed"


@given(
    st.sets(st.integers(0, 60), min_size=1).map(sorted),
    st.lists(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12), max_size=5),
)
def test_a_commit_never_passes_a_record_that_has_not_ended(
    offsets: list[int], lives: list[list[tuple[int, bool]]]
) -> None:
    """Lives of processes, each of which ends some of its records in any order, commits now and then, and is killed."""
    log = Log(offsets)
    for life in lives:
        held, handled = log.process()
        ended = {offset for offset in offsets if offset < log.place}
        for number, commits in life:
            left = [offset for offset in handled if offset not in ended]
            if left:
                held.end(left[number % len(left)])
                ended.add(left[number % len(left)])
            if commits:
                log.commit(held)
                assert all(offset in ended for offset in offsets if offset < log.place)
                assert log.place in {*set(offsets) - ended, (offsets[-1] + 1 if ended >= set(offsets) else -1)}
