"""Follows activations, retirements and purges on the bus: the replica's agent.

Each replica consumes in its own group, so that it sees every event. The agent acts and signs by the tenant's state,
which was swapped before the event was published: an event that the state contradicts is not obeyed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference.adapters.pins import Pins
from inference.adapters.placement import Placement, Removal
from inference.errors import RequestRefused
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import TenantStateCache
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterActivated, AdapterRetired, AdapterRolledBack, PurgeFenced, ReplicaEvicted
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt, eviction_subject, statement
from tenancy.bootstrap import Tenancy
from tenancy.errors import TenantFenced, Transient, UnknownTenant
from tenancy.evidence.signer import Signer
from tenancy.platform.logs import SCOPE
from tenancy.state.archive import Archive
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

NEWS = timedelta(minutes=1)
"""An activation so long ago has been met by requests, if there were any."""
PREFETCH_SECONDS = 10.0
"""The agent handles one event at a time: a purge waits no longer than this for an adapter that comes slowly."""


@dataclass(frozen=True)
class AgentPorts:
    """What the agent acts through."""

    tenancy: Tenancy
    signer: Signer
    views: TenantStateCache
    placement: Placement
    lease: ReplicaLease
    indexes: LoadedIndexes
    pins: Pins


async def on_adapter_activated(event: Event[AdapterActivated | AdapterRolledBack], ports: AgentPorts) -> Outcome:
    """The next request of this tenant sees what answers now: the state was swapped before this was published, so that
    nothing is changed by it but a cached view, which is dropped.

    The replica loads the new adapter first: where it has loaded what answered before, keeps the tenant's adapter
    loaded, or has a place that nobody uses. Until it is loaded :mod:`inference.adapters.switching` lets the one before
    answer. What runs goes on as it began. The outcome of this, which bears the replica's name, acknowledges the change.
    """
    data = event.data
    tenant = TenantId(event.subject)
    if data.adapter_digest is not None and _is_wanted(event, data.adapter_digest, ports):
        await _prefetch(ports, tenant, data.adapter_digest)
    ports.views.forget(tenant)
    return Outcome.NOOP_DUPLICATE


def _is_wanted(event: Event[AdapterActivated | AdapterRolledBack], digest: str, ports: AgentPorts) -> bool:
    loaded = ports.placement.engine.loaded()
    if digest in loaded:
        return False
    # The events of days that a new replica reads fill no places: what was used last is loaded by then.
    is_news = ports.tenancy.clock() - event.time < NEWS
    return (
        event.data.previous_digest in loaded
        or ports.pins.holds(TenantId(event.subject))
        or (is_news and ports.placement.has_room(digest))
    )


async def on_policy_changed(event: Event, ports: AgentPorts) -> Outcome:
    """Pin the tenant's adapter, and load it, or let go of it, as the policy in its state says now."""
    tenant = TenantId(event.subject)
    ports.views.forget(tenant)
    try:
        state = await ports.views.active(tenant)  # the pins follow what is read
    except RequestRefused:
        return Outcome.NOOP_STALE
    if state.active_adapter is not None and ports.pins.holds(tenant):
        await _prefetch(ports, tenant, state.active_adapter)
    return Outcome.NOOP_DUPLICATE


async def _prefetch(ports: AgentPorts, tenant: TenantId, digest: str) -> None:
    """Load what the tenant's state says answers. What cannot be loaded is tried again by the request that needs it."""
    try:
        state = (await ports.tenancy.active(tenant)).state
        canary = None if state.canary is None else state.canary.adapter_digest
        if digest in (state.active_adapter, canary):
            async with asyncio.timeout(PREFETCH_SECONDS), ports.placement.held(tenant, digest):
                pass
    except (UnknownTenant, TenantFenced, RequestRefused, TimeoutError, Transient) as error:
        logger.warning("adapter not prefetched", extra={"adapter": digest, "reason": type(error).__name__})


async def on_adapter_retired(event: Event[AdapterRetired], ports: AgentPorts) -> Outcome:
    """Evict an adapter that the tenant's state has as retired, and acknowledge it."""
    data = event.data
    tenant = TenantId(event.subject)
    ports.views.forget(tenant)
    retired_at = await _retired_at(ports.tenancy, tenant, data.adapter_digest)
    if retired_at is None:
        return Outcome.NOOP_STALE
    removal = _complete(await ports.placement.remove_adapter(tenant, data.adapter_digest))
    await _acknowledge(ports, tenant, data.adapter_digest, retired_at, removal, event)
    return Outcome.EFFECT if removal.evicted else Outcome.NOOP_DUPLICATE


async def on_purge_fenced(event: Event[PurgeFenced], ports: AgentPorts) -> Outcome:
    """Admit nothing any more of a tenant whose state is fenced by this purge, evict all of it, and acknowledge with a
    signed receipt.

    Whoever reads the event acknowledges it, under the same id each time, as long as the purge may wait for it: also a
    replica that has nothing to evict, such as one that was started after the fence. Only what was evicted or ended is
    an effect, so that a replay to such a replica is seen to change nothing.
    """
    data = event.data
    tenant = TenantId(event.subject)
    ports.views.forget(tenant)  # whatever the state says, also where it cannot be read
    try:
        state = (await ports.tenancy.states.read(tenant)).state
    except UnknownTenant:
        return Outcome.NOOP_STALE  # no purge waits for it; the ledger keeps the event, or each replica would
    if state.purge is None or state.purge.purge_id != data.purge_id:
        return Outcome.NOOP_STALE
    ports.views.block(tenant)
    removal = _complete(await ports.placement.remove_tenant(tenant))
    overwritten = await ports.indexes.remove_tenant(tenant)
    if state.status == "purging":
        await _acknowledge(ports, tenant, data.purge_id, state.purge.fenced_at, removal, event, overwritten)
    is_effect = removal.evicted or removal.requests_aborted or overwritten
    return Outcome.EFFECT if is_effect else Outcome.NOOP_DUPLICATE


async def _retired_at(tenancy: Tenancy, tenant: TenantId, digest: str) -> datetime | None:
    """When the tenant's adapter was retired, which it then stays; None where it is not. A fenced tenant has none: a
    purge has an event of its own.
    """
    try:
        state = (await tenancy.active(tenant)).state
    except (UnknownTenant, TenantFenced):
        return None
    adapter = state.adapters.get(digest) or await Archive(await tenancy.store(tenant)).adapter(digest)
    return None if adapter is None else adapter.retired_at


def _complete(removal: Removal) -> Removal:
    """Raises :class:`Transient` where something is left: the event comes again, and a replica that does not get on
    with it is restarted, which leaves nothing.
    """
    if not removal.is_complete:
        raise Transient("an adapter's slot or files have not been removed completely yet")
    return removal


async def _acknowledge(
    ports: AgentPorts,
    tenant: TenantId,
    cause: str,
    since: datetime,
    removal: Removal,
    event: Event,
    segments_overwritten: int = 0,
) -> None:
    """Sign and publish what was done on account of ``cause``, which the state has had since ``since``.

    Where this clock is behind the one that noted that, its time is given: the state was read before anything was done,
    and nobody counts a receipt that seems to be of before.
    """
    receipt = EvictionReceipt(
        replica_id=ports.lease.replica_id,
        incarnation=ports.lease.incarnation,
        tenant=tenant,
        cause_id=cause,
        evicted=removal.evicted,
        remaining=removal.remaining,
        slots_overwritten=removal.slots_overwritten,
        prefix_cache_reset=removal.prefix_cache_reset,
        local_files_deleted=removal.local_files_deleted,
        requests_aborted=removal.requests_aborted,
        segments_overwritten=segments_overwritten,
        evicted_at=max(ports.tenancy.clock(), since),
    )
    signed = await ports.signer.signed(
        statement(EVICTION_PREDICATE, eviction_subject(receipt.replica_id, cause), receipt)
    )
    evicted = ReplicaEvicted(replica_id=receipt.replica_id, cause_id=cause, receipt=signed)
    await ports.tenancy.outbox.publish(tenant, evicted, causation_id=event.id)
