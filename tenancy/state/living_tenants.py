"""Iterates tenants that are not purged; purged ones stay listed because their state is the fence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tenancy.state.registry import Snapshot, StateRegistry
from tenancy.tenant_id import TenantId


@dataclass
class Unpurged:
    """Remembers in process memory which tenants are purged, so that each of them is read once and not at every look.
    A purge is for ever: what is remembered cannot become wrong, and a new process finds it out again.
    """

    states: StateRegistry
    _purged: set[TenantId] = field(default_factory=set)

    async def tenants(self) -> AsyncIterator[TenantId]:
        """Every tenant that :meth:`read` has not found purged."""
        async for tenant in self.states.tenants():
            if tenant not in self._purged:
                yield tenant

    async def read(self, tenant: TenantId) -> Snapshot:
        """The tenant's state. Raises :class:`UnknownTenant`."""
        snapshot = await self.states.read(tenant)
        if snapshot.state.status == "purged":
            self._purged.add(tenant)
        return snapshot
