"""Usage: one record per usage event, so that adding up twice is impossible."""

from __future__ import annotations

from typing import cast

from consumers.ledger.ports import LedgerPorts
from schemas import object_keys
from schemas.envelope import Event
from schemas.events import UsageRecorded
from schemas.outcome import Outcome
from tenancy.errors import PreconditionFailed
from tenancy.tenant_id import TenantId


async def on_usage_recorded(event: Event, ports: LedgerPorts) -> Outcome:
    """Keep the usage under the event's own id, create-if-absent."""
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    await tenancy.active(tenant)
    store = await tenancy.store(tenant)
    try:
        await store.put_record(object_keys.usage(event.id), cast(UsageRecorded, event.data), if_absent=True)
    except PreconditionFailed:
        return Outcome.NOOP_DUPLICATE
    return Outcome.EFFECT
