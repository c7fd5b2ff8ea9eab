"""Counts each tenant's requests and tokens a minute against its policy, and tells of them in OpenAI's headers.

Two buckets a tenant, which fill up in a minute. A request is refused while either is empty. Input is taken as it was
guessed when the request came, and output as it comes, so that what was begun is finished: a bucket may go below empty,
and the debt is filled up first. Each replica counts by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from inference.errors import over_rate
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId

MINUTE = 60.0
FEW = 64
"""Tenants whose buckets are kept before it is looked at which are full."""


@dataclass
class Bucket:
    """At most ``limit``, and as many more a minute. ``limit`` is given each time, since a policy changes."""

    left: float
    at: float

    def fill(self, limit: int, now: float) -> float:
        """What is in it now, which is below 0 while there is debt."""
        self.left = min(float(limit), self.left + (now - self.at) * limit / MINUTE)
        self.at = now
        return self.left

    def seconds_to(self, level: float, limit: int) -> float:
        """Until there is so much in it."""
        return max(0.0, (level - self.left) * MINUTE / limit)


@dataclass
class _Account:
    requests: Bucket
    tokens: Bucket
    requests_a_minute: int
    tokens_a_minute: int

    def is_full(self, now: float) -> bool:
        return (
            self.requests.fill(self.requests_a_minute, now) >= self.requests_a_minute
            and self.tokens.fill(self.tokens_a_minute, now) >= self.tokens_a_minute
        )


@dataclass
class Rates:
    """The buckets of all tenants that asked lately: a full one is as good as none."""

    now: Callable[[], float] = time.monotonic
    _accounts: dict[TenantId, _Account] = field(default_factory=dict)
    _sweep_at: int = FEW

    def admit(self, tenant: TenantId, policy: TenantPolicy) -> None:
        """Take one request. Raises :class:`RequestRefused` (429), with the headers and when to come again."""
        account, now = self._account(tenant, policy), self.now()
        requests = account.requests.fill(account.requests_a_minute, now)
        tokens = account.tokens.fill(account.tokens_a_minute, now)
        wait = account.requests.seconds_to(1, account.requests_a_minute) if requests < 1 else 0.0
        if tokens < 1:
            wait = max(wait, account.tokens.seconds_to(1, account.tokens_a_minute))
        if wait:
            raise over_rate(
                "requests" if requests < 1 else "tokens", max(1, math.ceil(wait)), self.headers(tenant, policy)
            )
        account.requests.left -= 1

    def take(self, tenant: TenantId, tokens: int) -> None:
        """Take tokens of a request that was admitted, or give back so many (below 0)."""
        account = self._accounts.get(tenant)
        if account is not None:
            account.tokens.left -= tokens

    def headers(self, tenant: TenantId, policy: TenantPolicy) -> Mapping[str, str]:
        """OpenAI's six: limit, what remains of it, and the time until it is whole again, of requests and tokens."""
        account, now = self._account(tenant, policy), self.now()
        told = {}
        for name, bucket, limit in (
            ("requests", account.requests, account.requests_a_minute),
            ("tokens", account.tokens, account.tokens_a_minute),
        ):
            left = bucket.fill(limit, now)
            told[f"x-ratelimit-limit-{name}"] = str(limit)
            told[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(left)))
            told[f"x-ratelimit-reset-{name}"] = duration(bucket.seconds_to(limit, limit))
        return told

    def forget(self, tenant: TenantId) -> None:
        self._accounts.pop(tenant, None)

    def _account(self, tenant: TenantId, policy: TenantPolicy) -> _Account:
        account = self._accounts.get(tenant)
        requests, tokens = policy.requests_per_minute, policy.tokens_per_minute
        if account is None:
            self._drop_full()
            now = self.now()
            account = _Account(Bucket(requests, now), Bucket(tokens, now), requests, tokens)
            self._accounts[tenant] = account
        account.requests_a_minute, account.tokens_a_minute = requests, tokens
        return account

    def _drop_full(self) -> None:
        if len(self._accounts) < self._sweep_at:
            return
        now = self.now()
        for tenant in [tenant for tenant, account in self._accounts.items() if account.is_full(now)]:
            del self._accounts[tenant]
        self._sweep_at = max(FEW, 2 * len(self._accounts))


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``0s``, ``120ms``, ``6m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms" if seconds > 0 else "0s"
    whole = math.ceil(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
