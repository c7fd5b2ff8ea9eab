"""What each tenant uses on this replica, reported as events. The amounts are sums; nothing of a request is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from schemas.envelope import Event
from schemas.events import UsageRecorded
from tenancy.bootstrap import Tenancy
from tenancy.clock import NewNonce, random_nonce
from tenancy.errors import Transient
from tenancy.tenant_id import TenantId


@dataclass
class Amounts:
    """One tenant's sums since the last report."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    engine_seconds: float = 0.0


@dataclass
class UsageMeter:
    """Meters requests. Engine time is shared: while n requests run, each is charged 1/n of the time that passes."""

    now: Callable[[], float] = time.monotonic
    _amounts: dict[TenantId, Amounts] = field(default_factory=dict)
    _running: dict[TenantId, int] = field(default_factory=dict)
    _since: float = 0.0

    @asynccontextmanager
    async def running(self, tenant: TenantId) -> AsyncIterator[None]:
        """Around one answer."""
        self._charge()
        self._running[tenant] = self._running.get(tenant, 0) + 1
        try:
            yield
        finally:
            self._charge()
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]

    def _charge(self) -> None:
        now = self.now()
        elapsed, self._since = now - self._since, now
        total = sum(self._running.values())
        for tenant, count in self._running.items():
            self._of(tenant).engine_seconds += elapsed * count / total

    def tokens(self, tenant: TenantId, prompt: int, completion: int) -> None:
        """Add an answer's tokens, as the engine counted them."""
        amounts = self._of(tenant)
        amounts.prompt_tokens += prompt
        amounts.completion_tokens += completion

    def _of(self, tenant: TenantId) -> Amounts:
        return self._amounts.setdefault(tenant, Amounts())

    def take(self) -> dict[TenantId, Amounts]:
        """The sums so far, which start again from zero."""
        self._charge()
        taken, self._amounts = self._amounts, {}
        return taken

    def give_back(self, tenant: TenantId, amounts: Amounts) -> None:
        """Add back what could not be reported."""
        held = self._of(tenant)
        held.prompt_tokens += amounts.prompt_tokens
        held.completion_tokens += amounts.completion_tokens
        held.engine_seconds += amounts.engine_seconds


@dataclass(frozen=True)
class UsageReporter:
    """Publishes the meter's sums. A report that the bus did not take is added to the next one."""

    meter: UsageMeter
    tenancy: Tenancy
    new_nonce: NewNonce = random_nonce

    async def report(self) -> None:
        for tenant, amounts in self.meter.take().items():
            data = UsageRecorded(
                usage_id=self.new_nonce(),
                source="inference",
                prompt_tokens=amounts.prompt_tokens,
                completion_tokens=amounts.completion_tokens,
                engine_seconds=round(amounts.engine_seconds, 6),
            )
            event = Event(subject=tenant, data=data, time=self.tenancy.clock(), source=self.tenancy.outbox.source)
            try:
                await self.tenancy.publisher.publish(event)
            except Transient:
                self.meter.give_back(tenant, amounts)
