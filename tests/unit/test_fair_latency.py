"""Nine tenants beside one that asks 20 times as much as each: how many of the engine's steps their answers take."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest

from inference.tenants.fair_queue import Capacity, FairQueue, Share, Turn
from tenancy.tenant_id import TenantId

TOKENS, NINE, TIMES, ROUNDS = 16, 9, 20, 12
HEAVY = TenantId("heavy")


@dataclass(eq=False)
class Request:
    """Asked for at a step, for so many tokens."""

    tenant: TenantId
    at: int
    tokens: int
    took: int = 0


@dataclass
class Batch:
    """An engine of which a step makes one token of every request in the batch, and begins as soon as the one before has
    ended: what is given to it then has to wait for the step after.
    """

    size: int
    waiting: list[tuple[int, int, Request]] = field(default_factory=list)
    running: dict[Request, int] = field(default_factory=dict)
    given: int = 0

    def give(self, request: Request, order: int = 0) -> None:
        self.given += 1
        heappush(self.waiting, (order, self.given, request))

    def step(self) -> list[Request]:
        """The requests that it ended."""
        self.running = {request: left - 1 for request, left in self.running.items()}
        ended = [request for request, left in self.running.items() if not left]
        self.running = {request: left for request, left in self.running.items() if left}
        while self.waiting and len(self.running) < self.size:
            request = heappop(self.waiting)[2]
            self.running[request] = request.tokens
        return ended


def answered(requests: list[Request], size: int, *, in_turn: bool) -> int:
    """Answer them, through the fair queue or all in the engine at once; returns how many steps that took."""
    batch, queue = Batch(size), FairQueue(Capacity.of(size, 8, 2048))
    turns: dict[Turn, Request] = {}
    running: dict[Request, Turn] = {}
    left, now = len(requests), 0
    while left:
        now += 1
        for request in batch.step():
            left -= 1
            request.took = now - request.at
            if in_turn:
                queue.charge(running[request], 1, request.tokens)
                queue.end(running[request])
        for request in (each for each in requests if each.at == now):
            if in_turn:
                turn = Turn(request.tenant, None, 1, 1)
                turns[turn] = request
                queue.wait(turn, Share())
            else:
                batch.give(request)
        while (admitted := queue.next()) is not None:
            running[turns[admitted]] = admitted
            batch.give(turns[admitted], admitted.engine_order)
    return now


def asked(every: int, *, heavy: bool) -> list[Request]:
    """One of the nine after the other, each once in so many steps."""
    light = [
        Request(TenantId(f"light-{number}"), 1 + turn * every + number * every // NINE, TOKENS)
        for turn in range(ROUNDS)
        for number in range(NINE)
    ]
    crowd = [
        Request(HEAVY, 1 + number * every // TIMES, TOKENS // 2 + number % (TOKENS + 1))
        for number in range(ROUNDS * TIMES if heavy else 0)
    ]
    return light + crowd


def latency(requests: list[Request]) -> tuple[int, int]:
    """Median and p95 of the nine's answers, in steps."""
    took = sorted(request.took for request in requests if request.tenant != HEAVY)
    return took[len(took) // 2], took[int(0.95 * len(took))]


@pytest.mark.parametrize(("size", "at_once"), [(4, 2), (16, 8)])
def test_they_take_at_most_half_as_long_again_and_the_engine_does_as_much(size: int, at_once: int) -> None:
    every = NINE * TOKENS // at_once
    alone, beside, unfair = asked(every, heavy=False), asked(every, heavy=True), asked(every, heavy=True)
    answered(alone, size, in_turn=True)
    fair_steps, unfair_steps = answered(beside, size, in_turn=True), answered(unfair, size, in_turn=False)
    assert all(ours <= 1.5 * quiet for ours, quiet in zip(latency(beside), latency(alone), strict=True))
    assert all(plain > 3 * quiet for plain, quiet in zip(latency(unfair), latency(alone), strict=True)), "a heavy load"
    assert 0.95 * fair_steps <= unfair_steps
