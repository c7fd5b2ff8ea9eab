"""An engine's time is shared out by the tokens of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from inference.engine.engine import watch_steps
from inference.engine.in_flight import Flight, Flights
from inference.engine.step_times import StepTimes

OWNERS = {"one": "t1", "other": "t2"}


def output(request: str, tokens: int, *, computed: int | None = None, cached: int = 0) -> Any:
    """As vLLM's EngineCoreOutput: ``prefill_stats`` come with a request's first tokens."""
    prefill = None if computed is None else SimpleNamespace(num_computed_tokens=computed, num_cached_tokens=cached)
    return SimpleNamespace(request_id=request, new_token_ids=[1] * tokens, prefill_stats=prefill)


@dataclass
class Shares:
    now: float = 100.0
    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)
    times: StepTimes = field(init=False)

    def __post_init__(self) -> None:
        self.times = StepTimes(self.take, OWNERS.get, lambda: self.now)

    def take(self, owner: str, seconds: float, cached: int) -> None:
        self.seconds[owner] = self.seconds.get(owner, 0.0) + seconds
        self.cached[owner] = self.cached.get(owner, 0) + cached


@pytest.fixture
def shares() -> Shares:
    return Shares()


def test_a_step_is_shared_out_by_what_it_computed_of_prompts_and_answers(shares: Shares) -> None:
    shares.times.busy()
    shares.times.step([output("chatcmpl-one-aa", 1, computed=29), output("cmpl-other-0-bb", 1, computed=9)], 104.0)
    shares.times.step([output("chatcmpl-one-aa", 1), output("cmpl-other-0-bb", 3)], 106.0)
    shares.times.idle()
    assert shares.seconds == {"t1": 3.0 + 0.5, "t2": 1.0 + 1.5}


def test_time_in_which_the_engine_had_nothing_to_do_is_nobodys(shares: Shares) -> None:
    shares.times.busy()
    shares.times.step([output("chatcmpl-one-aa", 1)], 101.0)
    shares.times.idle()
    shares.now = 500.0
    shares.times.busy()
    shares.times.step([output("cmpl-other-0-bb", 1)], 502.0)
    shares.times.idle()
    assert shares.seconds == {"t1": 1.0, "t2": 2.0}


def test_a_large_step_whose_outputs_come_in_pieces_is_shared_out_as_one(shares: Shares) -> None:
    shares.times.busy()
    shares.times.step([output("chatcmpl-one-aa", 3)], 104.0)
    shares.times.step([output("cmpl-other-0-bb", 1)], 104.0)
    shares.times.idle()
    assert shares.seconds == {"t1": 3.0, "t2": 1.0}


def test_cached_tokens_take_no_share_and_are_counted_once_for_several_choices(shares: Shares) -> None:
    shares.times.busy()
    shares.times.step(
        [output(f"{index}_chatcmpl-one-aa", 1, computed=1, cached=32) for index in range(3)]
        + [output("cmpl-other-0-bb", 2, computed=4)],
        102.0,
    )
    shares.times.idle()
    assert shares.cached == {"t1": 32, "t2": 0}
    assert shares.seconds == {"t1": 1.0, "t2": 1.0}


def test_what_belongs_to_no_running_request_takes_no_share(shares: Shares) -> None:
    shares.times.busy()
    shares.times.step([output("chatcmpl-gone-aa", 5), output("embd-one-0", 5), output("chatcmpl-one-aa", 1)], 101.0)
    shares.times.idle()
    assert shares.seconds == {"t1": 1.0}


async def test_the_engines_own_outputs_are_passed_on_and_the_last_step_is_shared_out_when_nothing_runs() -> None:
    seen: list[Any] = []
    llm = SimpleNamespace(
        output_processor=SimpleNamespace(
            process_outputs=lambda outputs, at, stats, weight_version: seen.append(outputs)
        )
    )

    async def aborted(_: list[str]) -> None:
        return None

    flights, shares = Flights(aborted), Shares()
    watch_steps(llm, flights, shares.take)
    outputs = [output("chatcmpl-r1-aa", 1)]

    async def work() -> None:
        llm.output_processor.process_outputs(outputs, 1e12, None, weight_version=None)

    await flights.start(Flight("r1", None, ["chatcmpl-r1"], "t1"), work())
    assert seen == [outputs]
    assert shares.seconds["t1"] > 0
