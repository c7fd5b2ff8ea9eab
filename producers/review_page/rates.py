"""Bounds how often a person, or an address that nobody has signed in from, may ask, and a tenant's requests at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tenancy.platform.concurrency import counted
from tenancy.tenant_id import TenantId

OF_A_TENANT = 32
"""Requests at once, of the page's 256 connections: each may wait for a form, or for its turn at long work."""
REMEMBERED = 4096
"""So many are told apart; of more, those that asked longest ago are forgotten."""


class TooOften(Exception):
    """Asked more often than allowed, or for more at once."""


@dataclass
class Rates:
    """A token bucket for each: ``per_minute`` at once, refilled over a minute. ``now`` is a monotonic clock."""

    per_minute: int
    now: Callable[[], float]
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, who: str) -> None:
        """Raises :class:`TooOften`."""
        now = self.now()
        left, at = self._left.pop(who, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - at) * self.per_minute / 60)
        self._left[who] = (max(0.0, left - 1), now)
        if len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        if left < 1:
            raise TooOften


@dataclass
class AtOnce:
    """Counts the requests of each tenant's people that are being answered, whether they wait for that or have left."""

    most: int = OF_A_TENANT
    _held: dict[TenantId, int] = field(default_factory=dict)

    @contextmanager
    def one_more(self, tenant: TenantId) -> Iterator[None]:
        """Around one request. Raises :class:`TooOften`."""
        if self._held.get(tenant, 0) >= self.most:
            raise TooOften
        with counted(self._held, tenant):
            yield
