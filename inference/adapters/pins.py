"""Keeps the pins of a replica: adapters that stay loaded because their tenants' policies say so.

A pin follows the tenant's state, as the replica last read it: there is no list of pins that could be wrong. They are
bounded, or a few contracts would leave all other tenants without a place. Who comes beyond the bound is served like
anybody without a pin, which is said once, and is pinned as soon as a pin is free.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.objects.state import TenantState
from tenancy.platform.logs import SCOPE
from tenancy.platform.recent_set import RecentSet
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")


def pin_limit(max_resident: int) -> int:
    """So many of the adapters that fit may be pinned: the other half is for those who come and go."""
    return max_resident // 2


@dataclass
class Pins:
    """At most ``limit`` pinned adapters, one of each tenant: the active one."""

    limit: int
    on_refused: Callable[[], None] = lambda: None
    _adapters: dict[TenantId, str] = field(default_factory=dict)
    _tenants: dict[str, TenantId] = field(default_factory=dict)
    _refused: RecentSet[TenantId] = field(default_factory=RecentSet)

    def follow(self, tenant: TenantId, state: TenantState) -> None:
        """Pin the tenant's active adapter instead of an earlier one, or nothing, as its state says."""
        wanted = state.active_adapter if state.policy.keep_resident else None
        if self._adapters.get(tenant) == wanted:
            return
        self.forget(tenant)
        if wanted is None:
            return
        if len(self._adapters) < self.limit:
            self._adapters[tenant], self._tenants[wanted] = wanted, tenant
        elif tenant not in self._refused:
            self._refused.add(tenant)
            self.on_refused()
            logger.warning("adapter not pinned", extra={"tenant": tenant, "pins": self.limit})

    def forget(self, tenant: TenantId) -> None:
        """Let go of the tenant's pin."""
        if (digest := self._adapters.pop(tenant, None)) is not None:
            del self._tenants[digest]

    def holds(self, tenant: TenantId) -> bool:
        """Whether the tenant has a pin."""
        return tenant in self._adapters

    def __contains__(self, digest: str, /) -> bool:
        return digest in self._tenants
