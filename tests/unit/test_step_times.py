"""An engine's time is shared out by the tokens of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from inference.engine.engine import watch_steps
from inference.engine.in_flight import Flight, Flights
from inference.engine.step_times import StepTimes
from inference.engine.stream_usage import StreamUsage


@dataclass
class Request:
    owner: str
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def computed(self, prompt_tokens: int, completion_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


def output(request: str, tokens: int, *, computed: int | None = None, cached: int = 0) -> Any:
    """As vLLM's EngineCoreOutput: ``prefill_stats`` come with a request's first tokens."""
    prefill = None
    if computed is not None:
        prefill = SimpleNamespace(
            num_computed_tokens=computed, num_cached_tokens=cached, num_prompt_tokens=computed + cached
        )
    return SimpleNamespace(request_id=request, new_token_ids=[1] * tokens, prefill_stats=prefill)


@dataclass
class Shares:
    now: float = 100.0
    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=lambda: {"one": Request("t1"), "other": Request("t2")})
    times: StepTimes = field(init=False)

    def __post_init__(self) -> None:
        self.times = StepTimes(self.take, self.requests.get, lambda: self.now)

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


def test_tokens_are_counted_for_their_request_and_a_prompt_once_for_its_choices(shares: Shares) -> None:
    """Two prompts of two choices each, of which the second choice finds the prompt in the cache."""
    for prompt in (0, 1):
        for choice in (0, 1):
            made = output(f"{choice}_cmpl-one-{prompt}-aa", 1, computed=9 - 8 * choice, cached=8 * choice)
            shares.times.step([made], 101.0)
    shares.times.step([output("0_cmpl-one-0-aa", 3), output("chatcmpl-gone-bb", 7)], 102.0)
    assert shares.requests["one"] == Request("t1", 18, 7)
    assert shares.requests["other"] == Request("t2")


@pytest.mark.parametrize("sequence", ["chatcmpl-a-1-ff", "1_chatcmpl-a-1-ff", "cmpl-a-1-0-ff", "3_cmpl-a-1-12-ff"])
def test_a_request_is_known_by_its_sequence_also_where_its_id_has_dashes(shares: Shares, sequence: str) -> None:
    shares.requests["a-1"] = Request("t3")
    shares.times.step([output(sequence, 2)], 101.0)
    assert shares.requests["a-1"].completion_tokens == 2


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

    flight = Flight("r1", None, ["chatcmpl-r1"], "t1")
    flight.usage = StreamUsage({})
    await flights.start(flight, work())
    assert seen == [outputs]
    assert flight.usage.completion_tokens == 1
    assert shares.seconds["t1"] > 0
