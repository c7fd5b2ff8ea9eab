"""Lets requests wait for their turn at the engine: the fair queue and the rates, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inference.errors import not_active, queue_full
from inference.tenants.fair_queue import FairQueue, Share, Turn
from inference.tenants.rates import Rates
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId


@dataclass
class Turns:
    """Between the routes and the engine. ``longest``: tokens of the longest prompt that the engine takes.
    ``on_waited`` is told how long each request waited, in seconds.
    """

    queue: FairQueue
    longest: int
    rates: Rates = field(default_factory=Rates)
    now: Callable[[], float] = time.monotonic
    on_waited: Callable[[float], None] = lambda seconds: None
    _granted: dict[Turn, asyncio.Future[None]] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(
        self, tenant: TenantId, policy: TenantPolicy, adapter: str | None, places: int, prompt_tokens: int
    ) -> AsyncIterator[Turn]:
        """Around one request's time in the engine; waits for it first. ``prompt_tokens`` is a guess.

        Raises :class:`RequestRefused` (429) where as many wait as the policy lets wait, and (403) where the tenant is
        forgotten meanwhile.
        """
        turn, asked_at, has_begun = Turn(tenant, adapter, places, prompt_tokens), self.now(), False
        self.rates.take(tenant, prompt_tokens)
        granted = self._granted[turn] = asyncio.get_running_loop().create_future()
        try:
            self.queue.wait(turn, Share(policy.share_weight, policy.concurrent_requests))
            self._grant()
            if not turn.is_running and self.queue.waiting(tenant) > policy.queued_requests:
                raise queue_full(policy.queued_requests, self.rates.headers(tenant, policy))
            await granted
            has_begun = True
            self.on_waited(self.now() - asked_at)
            yield turn
        finally:
            if not has_begun:
                self.rates.take(tenant, -prompt_tokens)
                self.queue.charge(turn, 0, 0)
            self._granted.pop(turn, None)
            self.queue.end(turn)
            self._grant()

    def used(self, turn: Turn, prompt_tokens: int, output_tokens: int) -> None:
        """Note what the request has used until now: the input as it was in truth, the output so far."""
        more = prompt_tokens + output_tokens - turn.prompt_tokens - turn.output_tokens
        if turn.is_running and more:
            self.rates.take(turn.tenant, more)
            self.queue.charge(turn, prompt_tokens, output_tokens)

    def give_back(self, turn: Turn) -> None:
        """The engine refused the request: nothing is due for it."""
        self.used(turn, 0, 0)

    def forget(self, tenant: TenantId) -> None:
        """Refuse what waits of a tenant that is not served any more, and keep nothing of it."""
        for turn in self.queue.forget(tenant):
            granted = self._granted.pop(turn, None)
            if granted is not None and not granted.done():
                granted.set_exception(not_active())
        self.rates.forget(tenant)
        self._grant()

    def _grant(self) -> None:
        while (turn := self.queue.next()) is not None:
            granted = self._granted.get(turn)
            if granted is not None and not granted.done():
                granted.set_result(None)
