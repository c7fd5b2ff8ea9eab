"""Activation: which adapter answers a tenant's requests is one field of its state, changed by compare-and-swap."""

from __future__ import annotations

from typing import cast

from schemas.envelope import Event
from schemas.events import AdapterReady
from schemas.outcome import Outcome
from tenancy.activation import activated
from tenancy.archive import Archive
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId


async def on_adapter_ready(event: Event, tenancy: Tenancy) -> Outcome:
    """Activate a new adapter once, if the policy is automatic. A later rollback is not undone by a redelivery."""
    data = cast(AdapterReady, event.data)
    tenant = TenantId(event.subject)
    snapshot = await tenancy.active(tenant)
    state = snapshot.state
    adapter = state.adapters.get(data.adapter_digest)
    if adapter is None and await Archive(await tenancy.store(tenant)).adapter(data.adapter_digest) is not None:
        return Outcome.NOOP_STALE
    if adapter is None or adapter.status == "publishing":
        raise Refused("unknown-adapter", "refused: the tenant's state knows no such published adapter")
    if data.adapter_digest == state.active_adapter or data.adapter_digest in state.adapter_history:
        await tenancy.outbox.flush(tenant, snapshot)
        return Outcome.NOOP_DUPLICATE
    active = state.adapters.get(state.active_adapter) if state.active_adapter else None
    if adapter.status == "retired" or (active is not None and active.published_at > adapter.published_at):
        return Outcome.NOOP_STALE
    if state.policy.activation == "manual":
        return Outcome.REFUSED_POLICY
    await tenancy.outbox.swap(
        tenant,
        activated(data.adapter_digest, lambda made: tenancy.outbox.entry(made, event.id)),
        base=snapshot,
    )
    return Outcome.EFFECT
