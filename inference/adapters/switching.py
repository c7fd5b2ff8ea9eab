"""Lets a tenant's adapter go on answering until the one that became active after it is loaded, so that no answer waits
for a load.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field

from inference.adapters.placement import Placement
from schemas.objects.state import TenantState
from tenancy.platform.logs import SCOPE
from tenancy.platform.recent_set import REMEMBERED, RecentSet
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")


@dataclass
class Switching:
    """Which adapter answered each tenant last on this replica, and the loads of those that follow.

    The state does not say that: an active adapter that was unloaded when idle must not give way to an older one.
    Where a load fails, later requests wait for the next one, or are refused, as without this.
    """

    placement: Placement
    _last: OrderedDict[TenantId, str] = field(default_factory=OrderedDict, init=False)
    _loads: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _failed: RecentSet[str] = field(default_factory=RecentSet, init=False)

    def answering(self, tenant: TenantId, state: TenantState, active: str) -> str:
        """The adapter for a request that names none: the active one, or while that is loaded the one before."""
        last = self._last.get(tenant)
        if last is not None and last != active and not self.placement.has(active) and self._stands_in(state, last):
            if active not in self._loads and active not in self._failed:
                self._loads[active] = asyncio.create_task(self._load(tenant, active))
            if active in self._loads:
                return last
        self._last[tenant] = active
        self._last.move_to_end(tenant)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return active

    def _stands_in(self, state: TenantState, digest: str) -> bool:
        """Whether the adapter is loaded, and neither retired nor left by a rollback."""
        adapter = state.adapters.get(digest)
        may_answer = adapter is not None and adapter.status == "ready" and not adapter.rolled_back
        return may_answer and self.placement.has(digest)

    async def _load(self, tenant: TenantId, digest: str) -> None:
        try:
            async with self.placement.held(tenant, digest):
                pass
        except Exception as error:
            self._failed.add(digest)
            logger.warning("adapter not loaded ahead", extra={"adapter": digest, "reason": type(error).__name__})
        finally:
            del self._loads[digest]

    def forget(self, tenant: TenantId) -> None:
        self._last.pop(tenant, None)
