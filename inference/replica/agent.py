"""The replica's agent: it follows activations, retirements and purges.

It consumes in a group of its own, so that every replica sees every event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from inference.adapters.placement import Placement, Removal
from inference.tenants.binding import TenantViews
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterRetired, PurgeFenced, ReplicaEvicted
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt, eviction_subject, statement
from tenancy.bootstrap import Tenancy
from tenancy.errors import Transient, UnknownTenant
from tenancy.evidence.signing import Signer
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class AgentPorts:
    """What the agent acts through."""

    tenancy: Tenancy
    signer: Signer
    views: TenantViews
    placement: Placement
    replica_id: str


async def on_adapter_activated(event: Event, ports: AgentPorts) -> Outcome:
    """The next request of this tenant sees the new active adapter. The state was swapped before this was published,
    so that nothing is changed by it: only a cached view is dropped."""
    ports.views.forget(TenantId(event.subject))
    return Outcome.NOOP_DUPLICATE


async def on_adapter_retired(event: Event, ports: AgentPorts) -> Outcome:
    """Evict one adapter and acknowledge it."""
    data = cast(AdapterRetired, event.data)
    tenant = TenantId(event.subject)
    ports.views.forget(tenant)
    removal = _complete(await ports.placement.remove_adapter(tenant, data.adapter_digest))
    await _acknowledge(ports, tenant, data.adapter_digest, removal, event)
    return Outcome.EFFECT if removal.evicted else Outcome.NOOP_DUPLICATE


async def on_purge_fenced(event: Event, ports: AgentPorts) -> Outcome:
    """Admit nothing of the tenant any more, evict all of it, and acknowledge with a signed receipt.

    Whoever reads the event acknowledges it, under the same id each time, as long as the purge may wait for it: also a
    replica that has nothing to evict, such as one that was started after the fence. Only what was evicted or ended is
    an effect, so that a replay to such a replica is seen to change nothing.
    """
    data = cast(PurgeFenced, event.data)
    tenant = TenantId(event.subject)
    ports.views.block(tenant)
    removal = _complete(await ports.placement.remove_tenant(tenant))
    try:
        is_over = (await ports.tenancy.states.read(tenant)).state.status == "purged"
    except UnknownTenant:
        return Outcome.NOOP_STALE  # no purge waits for it; the ledger keeps the event, or each replica would
    if not is_over:
        await _acknowledge(ports, tenant, data.purge_id, removal, event)
    return Outcome.EFFECT if removal.evicted or removal.requests_aborted else Outcome.NOOP_DUPLICATE


def _complete(removal: Removal) -> Removal:
    """Raises :class:`Transient` where something is left: the event comes again, and a replica that does not get on
    with it is restarted, which leaves nothing.
    """
    if not removal.is_complete:
        raise Transient("an adapter's slot or files have not been removed completely yet")
    return removal


async def _acknowledge(ports: AgentPorts, tenant: TenantId, cause: str, removal: Removal, event: Event) -> None:
    receipt = EvictionReceipt(
        replica_id=ports.replica_id,
        tenant=tenant,
        cause_id=cause,
        evicted=removal.evicted,
        remaining=removal.remaining,
        slots_overwritten=removal.slots_overwritten,
        prefix_cache_reset=removal.prefix_cache_reset,
        local_files_deleted=removal.local_files_deleted,
        requests_aborted=removal.requests_aborted,
        evicted_at=ports.tenancy.clock(),
    )
    signed = ports.signer.sign(statement(EVICTION_PREDICATE, eviction_subject(ports.replica_id, cause), receipt))
    await ports.tenancy.publisher.publish(
        Event(
            subject=tenant,
            data=ReplicaEvicted(replica_id=ports.replica_id, cause_id=cause, receipt=signed),
            time=ports.tenancy.clock(),
            source=ports.tenancy.outbox.source,
            causation_id=event.id,
        )
    )
