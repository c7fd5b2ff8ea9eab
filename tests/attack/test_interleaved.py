"""Greedy requests of several tenants and of the base model in one batch, while adapters are loaded and unloaded: each
answer is the one given alone, but where two tokens tie."""

from __future__ import annotations

import asyncio
import re
from itertools import combinations
from random import Random

import pytest

from tenancy.tenant_id import TenantId
from tests.attack.conftest import Size
from tests.attack.greedy import Greedy, apart, asked, difference, noise, told
from tests.attack.stand import PLAIN, WITH_ADAPTERS, Stand
from tests.attack.wire import Got

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(7200)]

PROMPTS = (
    "The liver is an organ that",
    "Before a sample goes to the laboratory, one must",
    "A nurse at night should first",
    "Two plus two is four, and three plus three is",
    "In the morning the ward round begins with",
    "def add(a, b):",
)
TOKENS = 12
AT_ONCE = 6
WHO = (*WITH_ADAPTERS, PLAIN)
PATIENCE = 200
"""Attempts of a request that finds both places for adapters taken."""


async def answered(stand: Stand, who: TenantId, prompt: str, *, stream: bool = False) -> tuple[Got, Greedy]:
    """As a client that comes again after a 503, which is what a full replica answers."""
    for _ in range(PATIENCE):
        got = await stand.ask(who, "completions", 120.0, **asked(prompt, TOKENS, stream=stream))
        if got.status != 503:
            assert got.status == 200, f"{who}: {got.status}"
            return got, told(got)
        await asyncio.sleep(0.3)
    raise AssertionError(f"{who} finds no place")


async def loads(stand: Stand) -> int:
    """How many adapters were loaded until now."""
    _, body = await stand.metrics()
    found = re.search(r"^sano_inference_adapter_load_seconds_count\S* ([\d.]+)", body.decode(), re.MULTILINE)
    assert found is not None, "the replica counts its loads"
    return int(float(found[1]))


@pytest.mark.attack_long  # tests/integration/test_engine.py mixes and evicts in each run
async def test_each_answer_in_a_mixed_batch_is_the_one_given_alone_but_for_ties(
    stand: Stand, size: Size, seed: int
) -> None:
    alone = {(who, prompt): (await answered(stand, who, prompt))[1] for who in WHO for prompt in PROMPTS}
    for one, other in combinations(WHO, 2):
        told_apart = [apart(alone[one, prompt], alone[other, prompt]) is not None for prompt in PROMPTS]
        assert sum(told_apart) > len(PROMPTS) // 2, f"or the answers of {one} and {other} could be confused unseen"

    rng, before = Random(f"{seed}/interleaved"), await loads(stand)
    wrong, ties, apart_by = list[str](), list[float](), list[float]()

    async def one_of_many(number: int, who: TenantId, prompt: str, pause: float, stream: bool) -> None:
        await asyncio.sleep(pause)
        got, came = await answered(stand, who, prompt, stream=stream)
        apart_by.append(noise(alone[who, prompt], came))
        expected = stand.digests.get(who, "base")
        if got.headers["x-sano-adapter"] != expected:
            wrong.append(f"round {number}: {who} was answered by another adapter")
        if why := apart(alone[who, prompt], came):
            wrong.append(f"round {number}: {who}, prompt {PROMPTS.index(prompt)}: {why}")
        elif (distance := difference(alone[who, prompt], came)) is not None:
            ties.append(distance)

    for number in range(size.rounds):
        asking = [*WHO, *(rng.choice(WHO) for _ in range(AT_ONCE - len(WHO)))]
        rng.shuffle(asking)
        chosen = [(who, rng.choice(PROMPTS), rng.uniform(0, 0.2), rng.random() < 0.5) for who in asking]
        await asyncio.gather(*(one_of_many(number, *each) for each in chosen))
    done = await loads(stand) - before
    print(f"\n{size.rounds} rounds, {done} loads, {len(ties)} ties, at most {max(ties, default=0.0):.3f} apart")
    print(f"equal tokens' logarithms of probability are at most {max(apart_by):.3f} apart")
    assert wrong == []
    assert done >= size.rounds // 2, "or nothing was loaded and unloaded meanwhile"
