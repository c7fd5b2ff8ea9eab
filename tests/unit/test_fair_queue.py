"""The engine's places go round by weight, none of them stays empty for nothing, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.tenants.fair_queue import FEW, INPUT_COST, OUTPUT_COST, Capacity, FairQueue, Share, Turn
from tenancy.tenant_id import TenantId

LONGEST_INPUT, LONGEST_OUTPUT = 40, 20
A, B, C = TenantId("t1"), TenantId("t2"), TenantId("t3")


@dataclass
class Engine:
    """Makes one token of every running request a step, and ends those that are made."""

    capacity: Capacity
    queue: FairQueue = field(init=False)
    running: dict[Turn, int] = field(default_factory=dict)  # tokens that are still to be made
    admitted: list[Turn] = field(default_factory=list)
    lengths: Callable[[Turn], int] = lambda turn: LONGEST_OUTPUT

    def __post_init__(self) -> None:
        self.queue = FairQueue(self.capacity)

    def ask(self, turn: Turn, share: Share | None = None) -> Turn:
        self.queue.wait(turn, share or Share())
        self.grant()
        return turn

    def grant(self) -> None:
        while (turn := self.queue.next()) is not None:
            is_first = all(each.tenant != turn.tenant for each in self.running)
            self.admitted.append(turn)
            self.running[turn] = self.lengths(turn)
            assert self.taken <= self.capacity.places - (0 if is_first else self.capacity.kept)
        assert len({turn.adapter for turn in self.running} - {None}) <= self.capacity.slots

    @property
    def taken(self) -> int:
        return sum(turn.places for turn in self.running)

    def step(self) -> list[Turn]:
        """The requests that it ended."""
        for turn in self.running:
            self.queue.charge(turn, turn.prompt_tokens, turn.output_tokens + 1)
            self.running[turn] -= 1
        ended = [turn for turn, left in self.running.items() if left <= 0]
        for turn in ended:
            self.end(turn)
        return ended

    def end(self, turn: Turn) -> None:
        self.running.pop(turn, None)
        self.queue.end(turn)
        self.grant()


def turn(tenant: TenantId, adapter: str | None = None, prompt: int = 1, places: int = 1) -> Turn:
    return Turn(tenant, adapter, places, prompt)


def roomy(places: int = 1, slots: int = 8, overtaking: float = 0) -> Engine:
    return Engine(Capacity(places, slots, overtaking))


def backlog(
    engine: Engine, tenants: Sequence[TenantId], shares: Sequence[Share], random: Random, *, adapters: bool
) -> Iterator[None]:
    """Every tenant always has more requests that wait than there are places; one turn of this is one step."""

    def ask(tenant: TenantId, share: Share) -> None:
        adapter = f"of-{tenant}" if adapters else None
        engine.ask(turn(tenant, adapter, random.randint(1, LONGEST_INPUT)), share)

    while True:
        for tenant, share in zip(tenants, shares, strict=True):
            while engine.queue.waiting(tenant) <= engine.capacity.places:
                ask(tenant, share)
        engine.step()
        yield


def names(count: int) -> list[TenantId]:
    return [TenantId(f"t{number}") for number in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(0, 2),
    st.lists(st.integers(1, 4), min_size=6, max_size=6),
    st.integers(),
)
def test_the_counters_of_tenants_that_wait_differ_by_no_more_than_the_bound(
    count: int, places: int, kept: int, weights: list[int], seed: int
) -> None:
    random = Random(seed)
    engine = Engine(Capacity(places + kept, 1, 0, kept), lengths=lambda _: random.randint(1, LONGEST_OUTPUT))
    tenants, shares = names(count), [Share(weight, places + kept) for weight in weights[:count]]
    steps = backlog(engine, tenants, shares, random, adapters=False)
    bound = INPUT_COST * LONGEST_INPUT + OUTPUT_COST * LONGEST_OUTPUT * (places + kept)
    for _ in range(150):
        next(steps)
        counters = [engine.queue.counter(tenant) for tenant in tenants]
        assert max(counters) - min(counters) <= bound
        assert engine.taken >= places, "no place but the kept ones is empty while anybody waits"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 200), st.integers())
def test_no_adapter_starves_when_there_are_four_times_as_many_as_slots(
    slots: int, places: int, overtaking: int, seed: int
) -> None:
    random = Random(seed)
    engine = Engine(
        Capacity(places + 1, slots, overtaking, kept=1), lengths=lambda _: random.randint(1, LONGEST_OUTPUT)
    )
    tenants = names(4 * slots)
    steps = backlog(engine, tenants, [Share()] * len(tenants), random, adapters=True)
    bound = INPUT_COST * LONGEST_INPUT + OUTPUT_COST * LONGEST_OUTPUT * (places + 1) + overtaking
    since = Counter[TenantId]()
    # While one waits, each other can take no more than the bound and what it was behind: in requests of at least
    # one token of input and one of output.
    rounds = 2 * bound / (INPUT_COST + OUTPUT_COST)
    for _ in range(300):
        seen = len(engine.admitted)
        next(steps)
        for each in engine.admitted[seen:]:
            since.update(tenants)
            del since[each.tenant]
        counters = [engine.queue.counter(tenant) for tenant in tenants]
        assert max(counters) - min(counters) <= bound
        assert max(since.values(), default=0) <= len(tenants) * rounds
        assert engine.running, "the engine is never idle while anybody waits"
    assert {each.tenant for each in engine.admitted} == set(tenants)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), max_size=120))
def test_whatever_comes_goes_or_is_given_up_the_places_are_all_given_back(moves: list[tuple[int, int, int]]) -> None:
    engine = Engine(Capacity(4, 2, 10, kept=1))
    turns: list[Turn] = []
    for number, which, move in moves:
        if move == 0 or not turns:
            adapter = f"a{number}" if number else None
            turns.append(engine.ask(turn(TenantId(f"t{number}"), adapter, which + 1, which + 1)))
        elif move == 1:
            engine.end(turns[which % len(turns)])
        else:
            engine.step()
        waits = [each for each in turns if engine.queue.waiting(each.tenant)]
        assert engine.running or not waits, "somebody is admitted where nothing runs"
    for each in turns:
        engine.end(each)
    assert engine.queue._free == 4
    assert (engine.queue._adapters, engine.queue._tenants) == ({}, {})
    assert engine.queue._in_hand == 0


def test_one_who_has_nothing_in_the_engine_gets_a_kept_place_ahead_of_what_waits_there_of_a_busy_one() -> None:
    engine = Engine(Capacity(4, 2, 0, kept=1))
    busy = [engine.ask(turn(A)) for _ in range(6)]
    first, _, other = engine.ask(turn(B)), engine.ask(turn(B)), engine.ask(turn(C))
    assert engine.admitted == [*busy[:3], first], "one place is kept, and none for a second request"
    assert first.engine_order < busy[2].engine_order, "the last of the busy one's, which waits in the engine"
    engine.end(first)
    assert engine.admitted[-1] == other, "a place is kept for who has had less"


def test_the_place_that_becomes_free_next_is_kept_again() -> None:
    engine = Engine(Capacity(4, 2, 0, kept=1))
    busy = [engine.ask(turn(A)) for _ in range(6)]
    engine.ask(turn(B))
    engine.end(busy[0])
    assert busy[3] not in engine.admitted
    assert engine.ask(turn(C)) in engine.admitted, "while the first light one is still answered"
    engine.end(busy[1])
    engine.end(busy[2])
    assert engine.admitted[-1] == busy[3], "two are free"


def test_what_waits_in_the_engine_is_overtaken_there_by_fewer_than_have_a_place_in_it() -> None:
    engine = Engine(Capacity(4, 2, 0, kept=1))
    last = [engine.ask(turn(A)) for _ in range(3)][-1]
    overtaken = 0
    for _ in range(10):
        light = engine.ask(turn(B))
        overtaken += light.engine_order < last.engine_order
        engine.end(light)
    assert overtaken == 3


def test_an_engine_is_given_an_eighth_more_than_its_batch_and_as_much_is_kept() -> None:
    assert (Capacity.of(64, 8, 2048).places, Capacity.of(64, 8, 2048).kept) == (80, 8)
    assert (Capacity.of(4, 2, 256).places, Capacity.of(4, 2, 256).kept) == (6, 1)


def test_service_goes_by_weight() -> None:
    engine = roomy(places=2)
    tenants, shares = [A, B], [Share(weight=3), Share(weight=1)]
    steps = backlog(engine, tenants, shares, Random(0), adapters=False)
    for _ in range(1500):
        next(steps)
    served = Counter[TenantId]()
    for each in engine.admitted:
        served[each.tenant] += each.prompt_tokens + 2 * each.output_tokens
    assert 2.7 < served[A] / served[B] < 3.3


def test_one_who_was_away_saves_up_nothing() -> None:
    engine = roomy()
    engine.ask(turn(B, prompt=5))
    engine.end(engine.admitted[0])  # everybody is idle, and nothing is remembered
    for _ in range(20):
        engine.ask(turn(A, prompt=10))
    while engine.queue.counter(A) < 100:
        engine.end(next(iter(engine.running)))
    for _ in range(20):
        engine.ask(turn(B, prompt=10))
    before = len(engine.admitted)
    for _ in range(6):
        engine.end(next(iter(engine.running)))
    assert [each.tenant for each in engine.admitted[before:]] == [A, B, A, B, A, B], "and they take turns"


def test_one_who_comes_again_keeps_what_it_owes() -> None:
    engine = roomy()
    first, large = engine.ask(turn(C)), engine.ask(turn(A, prompt=1000))
    for _ in range(3):
        engine.ask(turn(B, prompt=10))
    engine.end(first)
    engine.end(large)
    for _ in range(3):
        engine.ask(turn(A, prompt=10))
    for _ in range(4):
        engine.end(next(iter(engine.running)))
    assert [each.tenant for each in engine.admitted] == [C, A, B, B, B, A, A]


def test_output_counts_twice_and_as_it_comes() -> None:
    engine = roomy(places=2)
    one = engine.ask(turn(A, prompt=10))
    assert engine.queue.counter(A) == 10
    engine.queue.charge(one, 12, 3)
    engine.queue.charge(one, 12, 5)
    assert engine.queue.counter(A) == 12 + 2 * 5
    engine.queue.charge(one, 0, 0)
    assert engine.queue.counter(A) == 0, "what is given back"


def test_a_tenant_has_so_many_at_once_and_the_others_take_the_rest() -> None:
    engine = roomy(places=4)
    for _ in range(4):
        engine.ask(turn(A), Share(at_once=1))
    assert [each.tenant for each in engine.admitted] == [A]
    engine.ask(turn(B, prompt=100))
    assert [each.tenant for each in engine.admitted] == [A, B]


def test_a_request_of_many_places_is_not_overtaken_and_one_of_too_many_takes_all() -> None:
    engine = roomy(places=3)
    first = engine.ask(turn(A))
    wide = engine.ask(turn(B, places=8))
    engine.ask(turn(C))
    assert engine.admitted == [first]
    engine.end(first)
    assert (engine.admitted, wide.places) == ([first, wide], 3)
    engine.end(wide)
    assert [each.tenant for each in engine.admitted] == [A, B, C]


def test_others_overtake_one_without_a_slot_for_so_long_and_then_its_slot_runs_out() -> None:
    engine = roomy(places=2, slots=1, overtaking=25)
    running = [engine.ask(turn(A, "of-a", prompt=10))]
    waiting = engine.ask(turn(B, "of-b", prompt=10))
    assert not waiting.is_running
    running += [engine.ask(turn(A, "of-a", prompt=10)) for _ in range(8)]
    for each in running:
        engine.end(each)
    order = [each.tenant for each in engine.admitted]
    assert order[:5] == [A, A, A, A, B], "10, 20 and 30 are past 0 + 25, which nobody passes again"


def test_a_tenant_that_is_forgotten_waits_no_more_and_leaves_nothing_behind() -> None:
    engine = roomy()
    running, other = engine.ask(turn(A)), engine.ask(turn(B))
    waiting = engine.ask(turn(A))
    assert engine.queue.forget(A) == [waiting]
    assert engine.queue.forget(C) == []
    engine.end(running)
    assert A not in engine.queue._tenants
    assert other.is_running


def test_of_tenants_that_are_behind_or_gone_nothing_is_kept() -> None:
    engine = roomy(places=2)
    long_running = engine.ask(turn(A, prompt=1))
    for number in range(10 * FEW):
        engine.end(engine.ask(turn(TenantId(f"x{number}"), prompt=1)))
    assert len(engine.queue._tenants) <= 2 * FEW + 1
    engine.end(long_running)
    assert engine.queue._tenants == {}


@pytest.mark.parametrize("is_running", [True, False])
def test_a_request_that_is_given_up_makes_room(is_running: bool) -> None:
    engine = roomy()
    first, second, third = (engine.ask(turn(tenant)) for tenant in (A, B, C))
    engine.end(first if is_running else second)
    engine.end(first)
    assert (second if is_running else third).is_running
