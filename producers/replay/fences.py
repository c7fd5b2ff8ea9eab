"""Fences replays: nothing is sent for a tenant that is purged or being purged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.bus.envelope import Event
from schemas.bus.events import EventData, PurgeFenced, PurgeRequested, ReplicaEvicted, ReplicaRegistered, TenantChurned
from tenancy.errors import UnknownTenant
from tenancy.state.registry import StateRegistry
from tenancy.tenant_id import TenantId

Fence = Literal["purging", "purged"]

OF_A_PURGE: tuple[type[EventData], ...] = (TenantChurned, PurgeRequested, PurgeFenced, ReplicaEvicted)
"""What a purge under way may be waiting for. They create nothing, so that they are sent until it is over."""

MAX_AGE_SECONDS = 5.0
"""A fence may be noticed so much later here. Consumers notice it at once: this only saves sending in vain."""


@dataclass
class Fences:
    """Looks at the tenants' states, in every installation that counts: where the events are from, and where they go.

    ``spares_a_purge`` lets :data:`OF_A_PURGE` through; in an installation where that purge is not, it means nothing.
    """

    registries: Sequence[StateRegistry]
    spares_a_purge: bool = True
    now: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[float, Fence | None]] = field(default_factory=dict)

    async def refusing(self, event: Event) -> Fence | None:
        """Why the event may not be sent; None when it may. A tenant that nobody knows is no purged one."""
        if isinstance(event.data, ReplicaRegistered):
            return None
        fence = await self._fence(event.subject)
        is_spared = self.spares_a_purge and isinstance(event.data, OF_A_PURGE)
        return None if fence == "purging" and is_spared else fence

    async def _fence(self, tenant: str) -> Fence | None:
        at, fence = self._seen.get(tenant, (float("-inf"), None))
        if fence == "purged" or self.now() - at < MAX_AGE_SECONDS:
            return fence
        looked = [await _looked(registry, TenantId(tenant)) for registry in self.registries]
        fence = "purged" if "purged" in looked else "purging" if "purging" in looked else None
        self._seen[tenant] = (self.now(), fence)
        return fence


async def _looked(registry: StateRegistry, tenant: TenantId) -> Fence | None:
    try:
        status = (await registry.read(tenant)).state.status
    except UnknownTenant:
        return None
    return None if status == "active" else status
