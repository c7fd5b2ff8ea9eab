"""Activates adapters by compare-and-swap of one field of the tenant's state, and records replicas' acknowledgements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumers.adapters.acknowledgements import note_acknowledgement
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterReady, ReplicaEvicted
from schemas.bus.outcome import Outcome
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.evidence.eviction_receipts import acknowledged, checked_eviction, require_demanded
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.replicas import holds_lease
from tenancy.state.activation import activated
from tenancy.state.archive import Archive
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class AdaptersPorts:
    """Holds the ports of the adapters consumer. A lost wake of the reconciler only costs time."""

    tenancy: Tenancy
    verifier: Verifier
    wake_driver: Callable[[], None]


async def on_adapter_ready(event: Event[AdapterReady], ports: AdaptersPorts) -> Outcome:
    """Activate a new adapter once, if the policy is automatic. A later rollback is not undone by a redelivery."""
    data = event.data
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    snapshot = await tenancy.active(tenant)
    state = snapshot.state
    adapter = state.adapters.get(data.adapter_digest)
    if adapter is None and await Archive(await tenancy.store(tenant)).adapter(data.adapter_digest) is not None:
        return Outcome.NOOP_STALE
    if adapter is None or adapter.status == "publishing":
        raise Refused("unknown-adapter", "refused: the tenant's state knows no such published adapter")
    is_canary = state.canary is not None and data.adapter_digest == state.canary.adapter_digest
    if is_canary or data.adapter_digest == state.active_adapter or data.adapter_digest in state.adapter_history:
        await tenancy.outbox.flush(tenant, snapshot)
        return Outcome.NOOP_DUPLICATE
    active = state.adapters.get(state.active_adapter) if state.active_adapter else None
    if adapter.status == "retired" or adapter.rolled_back or (active is not None and active.is_newer_than(adapter)):
        return Outcome.NOOP_STALE
    if state.policy.activation == "manual":
        return Outcome.REFUSED_POLICY
    await tenancy.outbox.swap(
        tenant,
        activated(data.adapter_digest, lambda made: tenancy.outbox.entry(made, event.id)),
        base=snapshot,
    )
    ports.wake_driver()
    return Outcome.EFFECT


async def on_replica_evicted(event: Event[ReplicaEvicted], ports: AdaptersPorts) -> Outcome:
    """Note that a replica is rid of a retired adapter, once its signature and its words are right.

    As of a purge: by the process that holds the replica's lease, since the next one finds the adapter retired.
    """
    data = event.data
    if not data.names_an_adapter:
        return Outcome.NOOP_STALE  # the acknowledgement of a purge
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    state = (await tenancy.active(tenant)).state
    receipt = checked_eviction(tenant, data, ports.verifier)
    store = await tenancy.store(tenant)
    adapter = await Archive(store).known_adapter(state, data.cause_id)
    require_demanded(receipt, None if adapter is None else adapter.retired_at)
    if not await holds_lease(tenancy.objects, receipt.replica_id, receipt.incarnation):
        return Outcome.NOOP_STALE
    was_noted = await note_acknowledgement(store, data.cause_id, acknowledged(data, receipt), data.receipt)
    ports.wake_driver()
    return Outcome.EFFECT if was_noted else Outcome.NOOP_DUPLICATE
