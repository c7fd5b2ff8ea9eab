"""Meters each tenant's usage on this replica and reports it as events: sums only, nothing of a request is kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from inference.tenants.versions import Counts, Version
from schemas.bus.envelope import Event
from schemas.bus.events import (
    CANARIES,
    RATED_ADAPTERS,
    AnswersCounted,
    AnswersRated,
    CanaryAnswers,
    UsageRecorded,
)
from schemas.objects.usage import SECONDS_DIGITS, Report, day_of
from tenancy.bootstrap import Tenancy
from tenancy.errors import Transient
from tenancy.platform.clock import NewNonce, random_nonce
from tenancy.platform.concurrency import counted
from tenancy.platform.logs import SCOPE
from tenancy.tenant_id import TenantId

Rating = Literal["up", "down"]

logger = logging.getLogger(f"{SCOPE}.inference")


@dataclass
class Amounts:
    """One tenant's sums since the last report."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    embedding_tokens: int = 0
    retrievals: int = 0
    engine_seconds: float = 0.0
    gpu_seconds: float = 0.0
    queue_seconds: float = 0.0
    versions: dict[Version, Counts] = field(default_factory=dict)
    ratings: Counter[tuple[str, Rating]] = field(default_factory=Counter)


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
        with counted(self._running, tenant):
            try:
                yield
            finally:
                self._charge()

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

    def embedded(self, tenant: TenantId, tokens: int) -> None:
        """Add the tokens of texts that the tenant had embedded."""
        self._of(tenant).embedding_tokens += tokens

    def searched(self, tenant: TenantId, tokens: int) -> None:
        """Add one question to the tenant's documents, of so many tokens."""
        self._of(tenant).retrievals += 1
        self.embedded(tenant, tokens)

    def waited(self, tenant: TenantId, seconds: float) -> None:
        """Add what a request waited for admission and for its adapter before the engine had it."""
        self._of(tenant).queue_seconds += seconds

    def stepped(self, owner: str, gpu_seconds: float, cached_tokens: int) -> None:
        """Add an owner's share of an engine's step, and what it did not have to compute for a prompt."""
        amounts = self._of(TenantId(owner))
        amounts.gpu_seconds += gpu_seconds
        amounts.cached_tokens += cached_tokens

    def version(self, tenant: TenantId, version: Version) -> Counts:
        """The sums of one side of the tenant's canary, to be added to now: they start again with each report."""
        return self._of(tenant).versions.setdefault(version, Counts())

    def rated(self, tenant: TenantId, adapter: str, rating: Rating) -> None:
        """Add one rating of an adapter's answer."""
        self._of(tenant).ratings[adapter, rating] += 1

    def _of(self, tenant: TenantId) -> Amounts:
        return self._amounts.setdefault(tenant, Amounts())

    def take(self) -> dict[TenantId, Amounts]:
        """The sums so far, which start again from zero."""
        self._charge()
        taken, self._amounts = self._amounts, {}
        return taken


@dataclass
class UsageReporter:
    """Publishes the meter's sums. What the bus did not acknowledge is published again as the same event: it may have
    been taken, and usage that is counted twice is paid twice.

    Each process is a reporter of its own. Its reports about a tenant are numbered without gaps, so that the ledger can
    tell which it has counted from two numbers: see :mod:`schemas.objects.usage`.
    """

    meter: UsageMeter
    tenancy: Tenancy
    new_nonce: NewNonce = random_nonce
    _unsent: deque[Event] = field(default_factory=deque)
    _reporter: str = field(init=False)
    _day: str = ""
    # The latest number of each tenant that used something on this day.
    _numbers: dict[TenantId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reporter = self.new_nonce()

    async def report(self) -> None:
        # While the bus takes nothing the sums go on in the meter, which does not grow.
        if await self._sent_all():
            self._unsent.extend(self._event(tenant, amounts) for tenant, amounts in self.meter.take().items())
            await self._sent_all()

    async def close(self, seconds: float) -> None:
        """The last report, which gets so long. What the bus has not taken then is not charged."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.report()
        if self._unsent:
            logger.error("usage not reported", extra={"reports": len(self._unsent)})

    async def _sent_all(self) -> bool:
        while self._unsent:
            try:
                await self.tenancy.publisher.publish(self._unsent[0])
            except Transient:
                return False
            self._unsent.popleft()
        return True

    def _event(self, tenant: TenantId, amounts: Amounts) -> Event:
        now = self.tenancy.clock()
        data = UsageRecorded(
            usage_id=self._next(tenant, day_of(now)).usage_id,
            source="inference",
            prompt_tokens=amounts.prompt_tokens,
            completion_tokens=amounts.completion_tokens,
            cached_tokens=amounts.cached_tokens,
            embedding_tokens=amounts.embedding_tokens,
            retrievals=amounts.retrievals,
            engine_seconds=round(amounts.engine_seconds, SECONDS_DIGITS),
            gpu_seconds=round(amounts.gpu_seconds, SECONDS_DIGITS),
            queue_seconds=round(amounts.queue_seconds, SECONDS_DIGITS),
            canaries=_canaries(amounts.versions),
            ratings=_ratings(amounts.ratings),
        )
        return Event(subject=tenant, data=data, time=now, source=self.tenancy.outbox.source)

    def _next(self, tenant: TenantId, day: str) -> Report:
        # A clock that is set back must not number a day anew.
        if day > self._day:
            self._day, self._numbers = day, {}
        number = self._numbers[tenant] = self._numbers.get(tenant, 0) + 1
        return Report(self._day, self._reporter, number)


def _canaries(versions: dict[Version, Counts]) -> tuple[CanaryAnswers, ...]:
    """By canary: the latest ones, of more than there can be in the seconds between two reports."""
    latest = sorted({version.activation for version in versions})[-CANARIES:]
    return tuple(
        CanaryAnswers(
            activation=activation,
            candidate=_counted(versions.get(Version(activation, "candidate"), Counts())),
            active=_counted(versions.get(Version(activation, "active"), Counts())),
        )
        for activation in latest
    )


def _ratings(counted: Mapping[tuple[str, Rating], int]) -> tuple[AnswersRated, ...]:
    """By adapter, in the order of their digests."""
    digests = sorted({adapter for adapter, _ in counted})[:RATED_ADAPTERS]
    return tuple(
        AnswersRated(adapter_digest=digest, up=counted.get((digest, "up"), 0), down=counted.get((digest, "down"), 0))
        for digest in digests
    )


def _counted(counts: Counts) -> AnswersCounted:
    return AnswersCounted(
        answers=counts.answers,
        errors=counts.errors,
        refusals=counts.refusals,
        rated_down=counts.rated_down,
        seconds=round(counts.seconds, SECONDS_DIGITS),
    )
