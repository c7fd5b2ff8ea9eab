"""Publishes one event of a tenant, as a producer."""

from __future__ import annotations

from schemas.bus.envelope import DataT, Event
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId


async def publish(tenancy: Tenancy, tenant: TenantId, data: DataT) -> Event[DataT]:
    """Publish ``data`` under the tenant's key, now. Raises :class:`BusUnavailable`: it may or may not be there."""
    event = Event(subject=tenant, data=data, time=tenancy.clock(), source=tenancy.outbox.source)
    await tenancy.publisher.publish(event)
    return event
