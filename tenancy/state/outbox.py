"""Publishes the outbox in a tenant's state, then deletes the published entries.

A crash between swap and publication loses nothing, since the next handler or the reconciler publishes the entry; a
crash between publication and deletion publishes twice, under the same deterministic id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.bus.envelope import DataT, Event
from schemas.bus.events import EventData
from schemas.objects.state import OutboxEntry, TenantState
from tenancy.bus import Publisher
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.tracing import current_trace
from tenancy.state.registry import Change, Snapshot, StateRegistry, entry_data, publishable
from tenancy.tenant_id import TenantId


def _event(tenant: str, source: str, entry: OutboxEntry) -> Event:
    return Event(
        subject=tenant,
        data=entry_data(entry),
        time=entry.time,
        source=source,
        causation_id=entry.causation_id,
        traceparent=entry.traceparent,
    )


@dataclass(frozen=True)
class Outbox:
    """Swaps states and pays what the swaps owe; publishes what none of them owes."""

    states: StateRegistry
    publisher: Publisher
    source: str
    clock: Clock = utc_now

    def entry(self, data: EventData, causation_id: str | None = None) -> OutboxEntry:
        """An entry for ``data``, carrying the current trace."""
        return OutboxEntry(
            event_type=data.type,
            data=data.model_dump(mode="json"),
            time=self.clock(),
            causation_id=causation_id,
            traceparent=current_trace(),
        )

    async def publish(
        self, subject: str, data: DataT, *, time: datetime | None = None, causation_id: str | None = None
    ) -> Event[DataT]:
        """Publish what no state owes, by default now. Raises :class:`BusUnavailable`: it may or may not be there."""
        event = Event(
            subject=subject, data=data, time=time or self.clock(), source=self.source, causation_id=causation_id
        )
        await self.publisher.publish(event)
        return event

    async def swap(self, tenant: TenantId, change: Change, *, base: Snapshot | None = None) -> Snapshot:
        """Swap, then publish everything that the state owes."""
        return await self.flush(tenant, await self.states.swap(tenant, change, base=base))

    async def flush(self, tenant: TenantId, snapshot: Snapshot | None = None) -> Snapshot:
        """Publish every entry of the outbox that this release knows, and strike it out."""
        current = snapshot or await self.states.read(tenant)
        entries = publishable(current.state)
        if not entries:
            return current
        published = set()
        for entry in entries:
            event = _event(tenant, self.source, entry)
            await self.publisher.publish(event)
            published.add(event.id)

        def strike_out(state: TenantState) -> TenantState:
            struck = [entry for entry in publishable(state) if _event(tenant, self.source, entry).id in published]
            left = tuple(entry for entry in state.outbox if entry not in struck)
            return state.evolve(outbox=left) if struck else state

        return await self.states.swap(tenant, strike_out, base=current)
