"""Holds one event's work on one tenant: the state it was found in, and what its handler writes through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.bus.events import EventData
from schemas.objects.state import OutboxEntry, TenantState
from tenancy.state.outbox import Outbox
from tenancy.state.registry import Change, Snapshot
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class TenantWork:
    """An active tenant, opened for the event of this id. A swap begins with the state that is known, so that a handling
    which nobody crosses reads it once, and returns the work with the state that it wrote.
    """

    event_id: str
    snapshot: Snapshot
    store: TenantStore
    outbox: Outbox

    @property
    def tenant(self) -> TenantId:
        return self.store.tenant

    @property
    def state(self) -> TenantState:
        return self.snapshot.state

    def entry(self, data: EventData) -> OutboxEntry:
        """An outbox entry for what this event leads to."""
        return self.outbox.entry(data, self.event_id)

    async def swap(self, change: Change) -> TenantWork:
        """Swap the state. What the swap owes waits for :meth:`flush`: records may have to be written first."""
        return replace(self, snapshot=await self.outbox.states.swap(self.tenant, change, base=self.snapshot))

    async def flush(self) -> TenantWork:
        """Publish what the state owes."""
        return replace(self, snapshot=await self.outbox.flush(self.tenant, self.snapshot))
