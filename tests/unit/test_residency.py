from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.adapters.residency import NoRoom, Reservation, Residency, ResidencyPolicy, Withdrawn


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def residency(clock: Clock) -> Residency:
    return Residency(ResidencyPolicy(max_resident=2, idle_seconds=60), clock)


def use(residency: Residency, clock: Clock, digest: str, at: float) -> None:
    clock.now = at
    residency.release(residency.reserve(digest))


def test_each_request_holds_its_adapter_by_itself(residency: Residency) -> None:
    first, second = residency.reserve("a"), residency.reserve("a")
    assert residency.reservations("a") == 2
    residency.release(first)
    assert residency.reservations("a") == 1
    residency.release(second)
    assert residency.reservations("a") == 0


def test_there_is_no_victim_while_there_is_room(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=1)
    assert residency.victim("b") is None


def test_there_is_no_victim_for_an_adapter_that_is_resident(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=1)
    use(residency, clock, "b", at=2)
    assert residency.victim("a") is None


def test_the_victim_is_the_least_recently_used(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=1)
    use(residency, clock, "b", at=2)
    use(residency, clock, "a", at=3)
    assert residency.victim("c") == "b"


def test_finishing_a_request_counts_as_use(residency: Residency, clock: Clock) -> None:
    long_request = residency.reserve("a")
    use(residency, clock, "b", at=5)
    clock.now = 9
    residency.release(long_request)
    assert residency.victim("c") == "b"


def test_an_adapter_with_a_request_is_never_the_victim(residency: Residency, clock: Clock) -> None:
    residency.reserve("a")
    use(residency, clock, "b", at=5)
    assert residency.victim("c") == "b"


def test_nothing_is_evicted_when_every_adapter_is_in_use(residency: Residency) -> None:
    residency.reserve("a")
    residency.reserve("b")
    with pytest.raises(NoRoom):
        residency.victim("c")
    with pytest.raises(NoRoom):
        residency.reserve("c")


def test_a_withdrawn_adapter_admits_nothing_and_reports_what_must_still_be_drained(residency: Residency) -> None:
    running = residency.reserve("a")
    assert residency.begin_eviction("a") == 1
    with pytest.raises(Withdrawn):
        residency.reserve("a")
    residency.release(running)
    assert residency.reservations("a") == 0


def test_a_withdrawn_adapter_is_not_chosen_again_while_its_eviction_runs(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=1)
    use(residency, clock, "b", at=2)
    residency.begin_eviction("a")
    assert residency.victim("c") == "b"
    residency.begin_eviction("b")
    with pytest.raises(NoRoom):
        residency.victim("c")


def test_a_dropped_adapter_makes_room_and_can_come_back(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=1)
    residency.begin_eviction("a")
    residency.drop("a")
    assert residency.resident() == ()
    residency.reserve("a")
    assert residency.resident() == ("a",)


def test_an_adapter_that_is_not_resident_can_be_withdrawn_so_that_no_load_starts_during_its_purge(
    residency: Residency,
) -> None:
    assert residency.begin_eviction("a") == 0
    with pytest.raises(Withdrawn):
        residency.reserve("a")


def test_a_release_that_comes_after_the_adapter_was_dropped_frees_nobody_elses_hold(residency: Residency) -> None:
    late = residency.reserve("a")
    residency.drop("a")
    residency.reserve("a")
    residency.release(late)
    assert residency.reservations("a") == 1


def test_a_second_release_changes_nothing(residency: Residency) -> None:
    first = residency.reserve("a")
    residency.reserve("a")
    residency.release(first)
    residency.release(first)
    assert residency.reservations("a") == 1


def test_idle_adapters_are_offered_after_the_time_and_not_while_in_use(residency: Residency, clock: Clock) -> None:
    use(residency, clock, "a", at=0)
    held = residency.reserve("b")
    clock.now = 59
    assert residency.idle() == ()
    clock.now = 60
    assert residency.idle() == ("a",)
    residency.release(held)
    clock.now = 120
    assert residency.idle() == ("a", "b")
    residency.begin_eviction("a")
    assert residency.idle() == ("b",)


@given(st.lists(st.tuples(st.sampled_from(["ask", "finish", "evict idle"]), st.sampled_from("abcde")), max_size=60))
def test_whatever_happens_no_request_loses_its_adapter_and_the_limit_holds(steps: list[tuple[str, str]]) -> None:
    clock = Clock()
    residency = Residency(ResidencyPolicy(max_resident=2, idle_seconds=3), clock)
    running: list[Reservation] = []
    for step, digest in steps:
        clock.now += 1
        if step == "finish" and running:
            residency.release(running.pop(0))
        elif step == "evict idle":
            for idle in residency.idle():
                assert residency.begin_eviction(idle) == 0
                residency.drop(idle)
        elif step == "ask":
            try:
                while (victim := residency.victim(digest)) is not None:
                    assert residency.begin_eviction(victim) == 0
                    residency.drop(victim)
                running.append(residency.reserve(digest))
            except NoRoom:
                assert len({reservation.digest for reservation in running}) == 2
        assert {reservation.digest for reservation in running} <= set(residency.resident())
        assert len(residency.resident()) <= 2
