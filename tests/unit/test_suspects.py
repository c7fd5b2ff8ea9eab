"""A request that was in flight at two of the engine's deaths is refused, and as few others as can be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from inference.engine.suspects import REFUSED_SECONDS, SUSPECT_SECONDS, Suspects, Trial
from inference.errors import RequestRefused

BODY = {"messages": [{"role": "user", "content": "q"}], "max_tokens": 2}


@dataclass
class Bench:
    now: float = 0.0
    refused: int = 0
    suspects: Suspects = field(init=False)

    def __post_init__(self) -> None:
        self.suspects = Suspects(lambda: self.now, on_refused=self._refused, turn_seconds=0.05, remembered=5)

    def _refused(self) -> None:
        self.refused += 1

    def of(self, name: str) -> bytes:
        return self.suspects.fingerprint("t1", "chat", {**BODY, "prompt": name})

    async def begin(self, name: str) -> Trial:
        return await self.suspects.admitted(self.of(name))

    async def die_of(self, *names: str) -> None:
        """All are in flight together at a death."""
        trials = [await self.begin(name) for name in names]
        self.suspects.engine_died()
        for trial in trials:
            self.suspects.ended(trial, answered=False)

    async def status(self, name: str) -> int:
        try:
            trial = await self.begin(name)
        except RequestRefused as refusal:
            return refusal.status
        self.suspects.ended(trial, answered=None)
        return 200


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_request_in_flight_at_two_deaths_is_refused_and_no_other(bench: Bench) -> None:
    await bench.die_of("poison")
    assert await bench.status("poison") == 200
    await bench.die_of("poison")
    assert [await bench.status(name) for name in ("poison", "other")] == [422, 200]
    assert bench.refused == 1


async def test_a_death_between_them_without_it_changes_nothing(bench: Bench) -> None:
    await bench.die_of("poison")
    await bench.die_of("other")
    await bench.die_of("poison")
    assert [await bench.status(name) for name in ("poison", "other")] == [422, 200]


async def test_an_answer_between_two_deaths_clears_a_suspect(bench: Bench) -> None:
    await bench.die_of("innocent")
    bench.suspects.ended(await bench.begin("innocent"), answered=True)
    await bench.die_of("innocent")
    assert await bench.status("innocent") == 200


async def test_those_that_stood_beside_it_are_tried_one_at_a_time_and_not_refused_with_it(bench: Bench) -> None:
    await bench.die_of("poison", "innocent", "another")
    poison = await bench.begin("poison")
    waiting = asyncio.create_task(bench.begin("innocent"))
    assert await bench.status("another") == 503, "its turn did not come"
    fresh = await bench.begin("fresh")  # no suspect, so it waits for nobody
    waiting.cancel()
    bench.suspects.engine_died()
    for trial in (poison, fresh):
        bench.suspects.ended(trial, answered=False)
    names = ("poison", "innocent", "another", "fresh")
    assert [await bench.status(name) for name in names] == [422, 200, 200, 200]


async def test_a_suspect_gets_its_turn_when_the_one_before_it_has_ended(bench: Bench) -> None:
    await bench.die_of("one", "two")
    first = await bench.begin("one")
    second = asyncio.create_task(bench.begin("two"))
    await asyncio.sleep(0)
    assert not second.done()
    bench.suspects.ended(first, answered=True)
    bench.suspects.ended(await second, answered=True)


async def test_the_same_request_that_waits_for_its_turn_is_refused_when_the_first_has_ended_the_engine(
    bench: Bench,
) -> None:
    await bench.die_of("poison")
    first = await bench.begin("poison")
    second = asyncio.create_task(bench.begin("poison"))
    await asyncio.sleep(0)
    bench.suspects.engine_died()
    bench.suspects.ended(first, answered=False)
    with pytest.raises(RequestRefused) as refused:
        await second
    assert refused.value.status == 422
    await bench.die_of("other")
    assert await bench.status("other") == 200, "the turn was given back"


async def test_a_caller_that_has_hung_up_does_not_hide_its_request(bench: Bench) -> None:
    for _ in range(2):
        bench.suspects.ended(await bench.begin("poison"), answered=False)
        bench.suspects.engine_died()
    assert await bench.status("poison") == 422


async def test_what_the_engine_has_survived_is_not_counted_at_a_later_death(bench: Bench) -> None:
    for _ in range(2):
        bench.now += 1
        bench.suspects.ended(await bench.begin("innocent"), answered=False)
        bench.suspects.ended(await bench.begin("refused before it reached the engine"), answered=None)
        bench.now += 1
        bench.suspects.engine_answered(bench.now)
        bench.suspects.engine_died()
    assert await bench.status("innocent") == 200
    assert bench.suspects._records == {}


async def test_a_call_made_before_a_caller_hung_up_proves_nothing_of_its_request(bench: Bench) -> None:
    for _ in range(2):
        bench.now += 1
        bench.suspects.ended(await bench.begin("poison"), answered=False)
        bench.suspects.engine_answered(bench.now - 0.5)
        bench.suspects.engine_died()
    assert await bench.status("poison") == 422


async def test_what_ends_with_its_engine_is_counted_once_whoever_is_told_first(bench: Bench) -> None:
    trial = await bench.begin("innocent")
    bench.suspects.engine_died()
    bench.suspects.ended(trial, answered=False)
    bench.suspects.engine_died()
    assert await bench.status("innocent") == 200


async def test_suspicion_and_refusal_end(bench: Bench) -> None:
    await bench.die_of("poison")
    bench.now += SUSPECT_SECONDS
    await bench.die_of("poison")
    assert await bench.status("poison") == 200, "the first death is forgotten"
    await bench.die_of("poison")
    bench.now += REFUSED_SECONDS - 1
    assert await bench.status("poison") == 422
    bench.now += 1
    assert await bench.status("poison") == 200


async def test_no_more_than_a_bounded_number_is_remembered(bench: Bench) -> None:
    for number in range(20):
        await bench.die_of(f"{number}")
        bench.suspects.ended(await bench.begin(f"given up {number}"), answered=False)
    bench.suspects.engine_died()
    assert len(bench.suspects._records) == 5
    for number in range(20):
        bench.suspects.ended(await bench.begin(f"given up {number}"), answered=False)
    assert len(bench.suspects._given_up) == 5
    assert bench.suspects._in_flight == set()


SAME: list[dict[str, Any]] = [
    dict(reversed(BODY.items())),
    {**BODY, "user": "Jane Doe"},
    {**BODY, "model": "base", "cache_salt": "x", "priority": 3},
    {**BODY, "stop": None},
]


@pytest.mark.parametrize("body", SAME)
def test_the_fingerprint_is_of_what_the_engine_is_asked(bench: Bench, body: dict[str, Any]) -> None:
    made = bench.suspects.fingerprint
    assert made("t1", "chat", body) == made("t1", "chat", BODY)


def test_the_fingerprint_differs_by_tenant_route_body_and_process(bench: Bench) -> None:
    made = bench.suspects.fingerprint
    others = [
        made("t2", "chat", BODY),
        made("t1", "completion", BODY),
        made("t1", "chat", {**BODY, "max_tokens": 3}),
        made("t1", "chat", {**BODY, "ignore_eos": True}),
        Suspects().fingerprint("t1", "chat", BODY),
    ]
    assert len({made("t1", "chat", BODY), *others}) == 6
    assert {len(each) for each in others} == {32}


def test_a_body_that_has_no_canonical_form_is_refused(bench: Bench) -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(RequestRefused) as refused:
        bench.suspects.fingerprint("t1", "chat", {"messages": nested})
    assert refused.value.status == 400
    while nested:
        nested = nested.pop()
