"""Lanes: side by side by tenant, each in order; what fails, hangs or moves away concerns its own lane."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.lane import LaneLimits, size
from consumers.runtime.lanes import LaneScheduler
from consumers.runtime.offsets import Committed, decoded
from schemas.bus import events
from schemas.bus.envelope import Event
from tenancy.platform.clock import utc_now
from tests.fixtures.examples import examples
from tests.fixtures.records import raw_record, record_of

PARTITION = (events.CURATION, 0)
LIMITS = LaneLimits(side_by_side=4, records=100, bytes=10**6)
STANDS: list[Stand] = []


def a_record(tenant: str, offset: int, partition: int = 0, topic: str = events.CURATION) -> Any:
    data = events.ConsentGranted(consent_id="c", version=1)
    if topic == events.TENANTS:
        made: Event = Event(
            subject=tenant, data=events.TenantChurned(requested_by="op"), time=utc_now(), source="/test"
        )
    else:
        made = Event(subject=tenant, data=data, time=utc_now(), source="/test")
    return record_of(made, offset=offset, partition=partition, timestamp=1000 + offset)


@dataclass
class Stand:
    """Lanes whose attempts a test ends by hand, in the order and with the result that it chooses."""

    limits: LaneLimits = LIMITS
    under_way: dict[int, asyncio.Future[bool]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    together: int = 0

    def __post_init__(self) -> None:
        STANDS.append(self)
        self.lanes = LaneScheduler(self._attempt, self.limits, lambda: 0.0)
        self.lanes.assign([PARTITION, (events.CURATION, 1), (events.TENANTS, 0)], lambda _: None)

    async def _attempt(self, records: Sequence[Any]) -> int:
        record = records[0]
        self.begun.append(record.offset)
        self.under_way[record.offset] = asyncio.get_running_loop().create_future()
        self.together = max(self.together, len(self.under_way))
        try:
            return int(await self.under_way[record.offset])
        finally:
            del self.under_way[record.offset]

    def assign(self, place: Committed) -> None:
        self.lanes.assign([PARTITION], lambda _: decoded(place))

    async def take(self, *records: Any) -> None:
        self.lanes.take(records)
        await turns()

    async def end(self, offset: int, result: bool | Exception = True) -> None:
        if isinstance(result, Exception):
            self.under_way[offset].set_exception(result)
        else:
            self.under_way[offset].set_result(result)
        await turns()

    def committable(self) -> int | None:
        place = self.lanes.committable([PARTITION]).get(PARTITION)
        return None if place is None else place.offset


@pytest.fixture(autouse=True)
async def stands() -> AsyncIterator[None]:
    """Ends what the test has left under way."""
    yield
    while STANDS:
        await STANDS.pop().lanes.stop(0.0)


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_tenants_go_side_by_side_and_each_in_order() -> None:
    stand = Stand()
    await stand.take(a_record("a", 0), a_record("a", 1), a_record("b", 2), a_record("c", 3), a_record("b", 4))
    assert stand.begun == [0, 2, 3]
    await stand.end(2)
    assert stand.begun == [0, 2, 3, 4], "the next of b, and not of a, whose first is in hand"
    await stand.end(0)
    assert stand.begun == [0, 2, 3, 4, 1]


async def test_a_tenant_that_hangs_or_fails_delays_nobody_else() -> None:
    stand = Stand()
    await stand.take(a_record("stuck", 0), a_record("failing", 1), *(a_record(f"t{n % 2}", n) for n in range(2, 22)))
    for _ in range(300):
        done = sorted(stand.begun)
        if 1 in stand.under_way:
            await stand.end(1, ValueError("x") if len(done) % 2 else False)
        for offset in [offset for offset in stand.under_way if offset > 1]:
            await stand.end(offset)
    assert sorted(set(stand.begun)) == list(range(22))
    assert stand.begun.count(0) == 1
    assert stand.begun.count(1) > 100, "and comes again all the while"
    assert stand.committable() == 0, "they hold only what is committed"


async def test_so_many_are_in_hand_at_once_and_no_more() -> None:
    stand = Stand()
    await stand.take(*(a_record(f"t{n}", n) for n in range(20)))
    assert stand.begun == [0, 1, 2, 3]
    while stand.under_way:
        await stand.end(max(stand.under_way))
    assert (stand.together, sorted(stand.begun)) == (4, list(range(20)))


async def test_a_record_that_waits_to_come_again_takes_no_place_from_others() -> None:
    stand = Stand(LaneLimits(side_by_side=1, records=100, bytes=10**6))
    stand.lanes._pause = lambda: 60.0
    await stand.take(a_record("a", 0), a_record("a", 1), a_record("b", 2))
    await stand.end(0, False)
    assert stand.begun == [0, 2]


async def test_one_record_of_a_tenant_is_in_hand_over_all_partitions_and_a_failing_one_holds_only_its_own() -> None:
    stand = Stand()
    stand.lanes._pause = lambda: 60.0
    await stand.take(a_record("a", 0), a_record("a", 1))
    await stand.take(a_record("a", 50, topic=events.TENANTS), a_record("a", 51, topic=events.TENANTS))
    assert stand.begun == [0]
    await stand.end(0, False)
    assert stand.begun == [0, 50], "a purge command does not wait for an approval that fails"
    await stand.end(50)
    assert stand.begun == [0, 50, 51]


async def test_partitions_of_one_tenant_take_turns() -> None:
    stand = Stand()
    await stand.take(*(a_record("a", n) for n in range(3)))
    await stand.take(*(a_record("a", 50 + n, topic=events.TENANTS) for n in range(3)))
    while stand.under_way:
        await stand.end(next(iter(stand.under_way)))
    assert stand.begun == [0, 50, 1, 51, 2, 52]


async def test_what_nobody_can_read_has_a_lane_of_its_own_whatever_key_it_has() -> None:
    stand = Stand()
    garbage = [
        raw_record(events.CURATION, key, b"x", (), offset=offset, partition=0)
        for offset, key in ((0, b"a"), (1, None), (3, b"b"))
    ]
    await stand.take(*garbage[:2], a_record("a", 2), garbage[2], a_record("b", 4))
    assert stand.begun == [0, 2, 4]
    await stand.end(0, False)
    assert (stand.begun[3:], stand.committable()) == ([0], 0)


async def test_when_memory_is_full_no_more_is_to_be_taken_until_half_of_it_is_gone() -> None:
    for limits in (
        LaneLimits(side_by_side=1, records=10, bytes=10**6),
        LaneLimits(side_by_side=1, records=10**6, bytes=3000),
    ):
        stand = Stand(limits)
        taken = 0
        while not stand.lanes.is_full():
            await stand.take(a_record(f"t{taken}", taken))
            taken += 1
        assert 4 < taken < 20
        seen = []
        while stand.under_way:
            await stand.end(next(iter(stand.under_way)))
            seen.append(stand.lanes.is_full())
        assert seen == sorted(seen, reverse=True)
        assert taken / 3 < seen.count(True) < taken


async def test_a_partition_that_moves_is_committed_up_to_what_ended_and_what_waits_is_dropped() -> None:
    stand = Stand()
    await stand.take(a_record("a", 0), a_record("a", 1), a_record("b", 2), a_record("b", 3))
    await stand.take(a_record("c", 70, partition=1))
    revoking = asyncio.create_task(stand.lanes.revoke([PARTITION], 60))
    await turns()
    assert not revoking.done()
    await stand.end(2)
    await stand.end(0)
    await revoking
    assert stand.committable() == 1
    assert stand.begun == [0, 2, 70], "nothing more of it is begun"
    place = stand.lanes.committable()[PARTITION]
    stand.lanes.forget([PARTITION])
    assert PARTITION not in stand.lanes.committable()
    await stand.take(a_record("a", 4))
    assert stand.begun == [0, 2, 70], "what is read of it late is let be"
    again = Stand()
    again.assign(place)
    await again.take(a_record("a", 1), a_record("b", 2), a_record("b", 3))
    assert again.begun == [1, 3], "who has it next begins exactly what had not ended"


async def test_of_a_partition_that_moved_nothing_is_begun_that_waited_for_room_or_to_come_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand = Stand()
    await stand.take(*(a_record(f"t{n}", n) for n in range(8)))
    await stand.take(a_record("t0", 70, topic=events.TENANTS))
    stand.lanes._pause = lambda: 0.01
    await stand.end(0, False)
    begun = list(stand.begun)
    await stand.lanes.revoke([PARTITION], 0.0)
    for offset in list(stand.under_way):
        await stand.end(offset)
    await asyncio.sleep(0.03)
    assert [offset for offset in stand.begun if offset not in begun] == [70]
    said = [record for record in caplog.records if record.name.startswith("sanolith")]
    assert said == [], "not even with nothing to handle"
    assert (stand.lanes._memory.records, stand.lanes._memory.bytes) == (
        1,
        size(a_record("t0", 70, topic=events.TENANTS)),
    )


async def test_what_outlasts_the_bound_of_a_move_is_not_committed_and_its_tenant_waits_for_it() -> None:
    stand = Stand()
    await stand.take(a_record("a", 0), a_record("a", 1))
    await stand.lanes.revoke([PARTITION], 0.001)
    assert stand.committable() == 0
    stand.lanes.forget([PARTITION])
    stand.lanes.assign([PARTITION], lambda _: None)
    late = stand.under_way[0]
    await stand.take(a_record("a", 0), a_record("b", 2))
    assert stand.begun == [0, 2], "of a, the one before is still in hand"
    late.set_result(True)
    await turns()
    assert (stand.begun, stand.committable()) == ([0, 2, 0], 0)
    await stand.end(0)
    assert stand.committable() == 2


async def test_a_stop_lets_what_is_in_hand_end_and_gives_up_what_does_not() -> None:
    stand = Stand()
    await stand.take(a_record("a", 0), a_record("a", 1), a_record("b", 2), a_record("c", 3))
    stopping = asyncio.create_task(stand.lanes.stop(0.05))
    await turns()
    await stand.end(0)
    await stand.end(3, False)
    await stopping
    assert (stand.under_way, stand.begun, stand.committable()) == ({}, [0, 2, 3], 1)


@examples(75)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=14), st.randoms(use_true_random=False))
async def test_order_per_tenant_and_commits_hold_through_failures_moves_and_kills(
    log: list[str], chance: random.Random
) -> None:
    """Lives of processes over one partition. Each attempt ends or fails at random; then the process is killed, or its
    partition moves; the last one comes to the end.
    """
    place, ended = Committed(0), set[int]()
    records = [a_record(tenant, offset) for offset, tenant in enumerate(log)]
    for is_last in (False, False, False, True):
        stand, committed = Stand(), set(ended)
        stand.assign(place)
        await stand.take(*records[place.offset :])
        for _ in range(10**6 if is_last else chance.randrange(12)):
            if not stand.under_way:
                break
            offset = chance.choice(sorted(stand.under_way))
            earlier = {other for other in range(offset) if log[other] == log[offset]}
            assert ended >= earlier, "a record is begun only once the one before it of its tenant has ended"
            has_ended = chance.random() < 0.7
            await stand.end(offset, has_ended)
            if has_ended:
                ended.add(offset)
            is_moving = not is_last and chance.random() < 0.1
            if is_moving:
                await stand.lanes.revoke([PARTITION], 0.0)
            found = stand.lanes.committable().get(PARTITION)
            if found is not None and (is_moving or chance.random() < 0.3):
                assert ended >= set(range(found.offset)), "never past what has not ended"
                stand.lanes.committed({PARTITION: found})
                place, committed = found, set(ended)
            if is_moving:
                break
        again = set(range(len(log))) - committed
        if not is_last:
            ended = committed  # killed: what ended since is begun again, and nothing else that had ended
        left = Stand()
        left.assign(place)
        await left.take(*records[place.offset :])
        assert set(left.begun) == _firsts(log, again)
        await left.lanes.stop(0.0)
        await stand.lanes.stop(0.0)
    assert ended == set(range(len(log)))


def _firsts(log: list[str], offsets: set[int]) -> set[int]:
    """What is begun first of these: the first of each tenant, as far as there is room side by side."""
    firsts: dict[str, int] = {}
    for offset in sorted(offsets):
        firsts.setdefault(log[offset], offset)
    return set(list(firsts.values())[: LIMITS.side_by_side])


@examples(50)
@given(
    st.lists(st.sampled_from("aaabbbcd"), min_size=1, max_size=60),
    st.integers(1, 16),
    st.integers(1, 3),
    st.integers(0, 2**32).map(random.Random),
)
async def test_order_per_tenant_and_commits_hold_where_memory_is_smaller_than_the_log(
    log: list[str], memory: int, run: int, chance: random.Random
) -> None:
    """Lives of processes over one partition that read ahead, read again, end records and commit in any order."""
    place, known = Committed(0), set[int]()
    records = [a_record(tenant, offset) for offset, tenant in enumerate(log)]
    for is_last in (False, False, True):
        stand = Stand(LaneLimits(side_by_side=2, records=memory, bytes=10**6, run=run))
        stand.assign(place)
        front, ended, steps = place.offset, set(known), 0
        while ended != set(range(len(log))) if is_last else chance.random() < 0.98:
            steps += 1
            assert steps < 100_000, "it gets on"
            some = chance.randrange(1, 6)
            match chance.randrange(4):
                case 0 if PARTITION not in stand.lanes.full_partitions():
                    await stand.take(*records[front : front + some])
                    front = min(len(log), front + some)
                    held = stand.lanes._lanes.values()
                    assert stand.lanes._memory.records < memory or all(
                        len(x.records) <= max(1, x.offered) for x in held
                    )
                case 1 if (back := stand.lanes.to_read_again()) is not None:
                    found = records[back[1] : back[1] + some]
                    stand.lanes.take_again(back[0], found, back[1] + len(found))
                    await turns()
                case 2 if stand.under_way:
                    offset = chance.choice(sorted(stand.under_way))
                    assert offset not in ended, "once"
                    assert ended >= {other for other in range(offset) if log[other] == log[offset]}, "in order"
                    has_ended = chance.random() < 0.8
                    await stand.end(offset, has_ended)
                    ended |= {offset} if has_ended else set()
                case 3:
                    found_place = stand.lanes.committable().get(PARTITION)
                    if found_place is not None:
                        assert ended >= set(range(found_place.offset)), "never past what has not ended"
                        stand.lanes.committed({PARTITION: found_place})
                        place, known = found_place, set(ended)
        if is_last:
            assert stand.committable() in (None, len(log))
            assert (stand.lanes._memory.records, stand.lanes._memory.bytes, stand.lanes._lanes) == (0, 0, {})
        elif chance.random() < 0.5:  # it moves in good order; else the process is killed
            await stand.lanes.revoke([PARTITION], 0.0)
            found_place = stand.lanes.committable().get(PARTITION)
            if found_place is not None:
                place, known = found_place, set(ended)
        await stand.lanes.stop(0.0)


async def test_lanes_that_are_read_again_take_what_they_have_not_each_up_to_its_share() -> None:
    stand = Stand(LaneLimits(side_by_side=1, records=16, bytes=10**6))
    log = [a_record("a" if offset < 12 else "b", offset) for offset in range(24)]
    await stand.take(*log[:20])
    await stand.take(*log[20:])
    assert stand.lanes.to_read_again() is None, "each has enough"
    while len(stand.begun) < 11:
        await stand.end(stand.begun[-1])
    assert stand.begun == [0, 12, 1, 13, 2, 14, 3, 15, 4, 16, 5]
    assert stand.lanes.to_read_again() == (PARTITION, 6)
    stand.lanes.take_again(PARTITION, log[6:], 24)
    held = [[record.offset for record in lane.records] for lane in stand.lanes._lanes.values()]
    assert held == [[5, 6, 7, 8], [17, 18, 19, 20]]
    while stand.under_way:
        await stand.end(stand.begun[-1])
        if (back := stand.lanes.to_read_again()) is not None:
            stand.lanes.take_again(PARTITION, log[back[1] :], 24)
            await turns()
    assert stand.committable() == 24


async def test_a_partition_that_gives_nothing_holds_up_no_other() -> None:
    stand, other = Stand(LaneLimits(side_by_side=2, records=6, bytes=10**6)), (events.CURATION, 1)
    logs = {
        place: [a_record(tenant, begin + offset, partition=place[1]) for offset in range(50)]
        for place, tenant, begin in ((PARTITION, "a", 0), (other, "b", 100))
    }
    await stand.take(*logs[PARTITION])
    await stand.take(*logs[other])
    ended = 0
    while (back := stand.lanes.to_read_again()) is None and ended < 100:
        await stand.end(min(stand.under_way))
        ended += 1
    assert back is not None
    stand.lanes.take_again(back[0], [], back[1])
    while stand.under_way:
        await stand.end(min(stand.under_way))
    asked = stand.lanes.to_read_again()
    assert asked is not None
    assert asked[0] != back[0]
    stand.lanes.take_again(*asked[:1], [], asked[1])
    assert stand.lanes.to_read_again() == back, "and then it is its turn again"


@pytest.mark.parametrize("limits", [{"records": 160, "bytes": 10**6}, {"records": 10**6, "bytes": 40_000}])
async def test_what_is_in_hand_of_many_floods_leaves_room_for_others(limits: dict[str, int]) -> None:
    stand = Stand(LaneLimits(side_by_side=8, run=100, **limits))
    for tenant in range(12):
        await stand.take(*(a_record(f"flood{tenant}", 40 * tenant + number) for number in range(40)))
    assert len(stand.under_way) == 8
    assert not stand.lanes.full_partitions()
    await stand.take(a_record("single", 1000))
    for offset in range(0, 480, 40):
        await stand.end(offset)
    assert 1000 in stand.under_way


async def test_a_log_that_another_leader_cut_short_is_read_from_there_on_as_a_new_one() -> None:
    stand = Stand(LaneLimits(side_by_side=1, records=4, bytes=10**6))
    await stand.take(*(a_record("a", offset) for offset in range(9)), a_record("b", 9))
    assert stand.lanes.has_left()
    await stand.take(a_record("c", 2), a_record("a", 3))
    assert not stand.lanes.has_left(), "what was left is not there any more"
    await stand.end(0)
    while stand.under_way:
        await stand.end(next(iter(stand.under_way)))
    assert (stand.begun, stand.committable()) == ([0, 2, 3], 4)


async def test_a_lane_of_large_records_leaves_what_is_too_many_bytes() -> None:
    stand = Stand(LaneLimits(side_by_side=1, records=10**6, bytes=3000))
    await stand.take(*(a_record("a", offset) for offset in range(30)), a_record("b", 30))
    assert stand.lanes._memory.bytes < 3000
    assert not stand.lanes.full_partitions()
    await stand.end(0)
    assert stand.begun == [0, 30]


@pytest.mark.parametrize("error", [ValueError("secret"), RuntimeError("secret")])
async def test_an_attempt_that_raises_is_said_without_its_text_and_comes_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stand = Stand()
    await stand.take(a_record("a", 0))
    await stand.end(0, error)
    await stand.end(0)
    assert stand.committable() == 1
    [said] = [record for record in caplog.records if record.message == "record given back unhandled"]
    assert "secret" not in str(vars(said))
