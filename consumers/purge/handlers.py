"""Handles the events of a purge: records each and wakes the reconciler, since the work exceeds a handler's timeout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from consumers.purge.driver import PurgeReconciler
from consumers.purge.fence import fenced_since, record_request
from consumers.purge.handover import awaits_acknowledgement
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.envelope import Event
from schemas.bus.events import ExportAcknowledged, PurgeRequested, ReplicaEvicted, TenantChurned
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused
from tenancy.evidence.eviction_receipts import acknowledged, checked_eviction, require_demanded
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.replicas import holds_lease
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class PurgePorts:
    """What the purge acts through."""

    tenancy: Tenancy
    verifier: Verifier
    driver: PurgeReconciler
    wake_driver: Callable[[], None]


async def on_tenant_churned(event: Event[TenantChurned], ports: PurgePorts) -> Outcome:
    """The contract ended: open the purge, then command it.

    The record is first. From then on the deletion SLA's clock runs, the watchdog sees it, and the reconciler carries it
    out, whatever becomes of the command.
    """
    data = event.data
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    requested = PurgeRequested(purge_id=churn_purge_id(tenant), reason_code="churned", requested_by=data.requested_by)
    command = Event(
        subject=tenant, data=requested, time=event.time, source=tenancy.outbox.source, causation_id=event.id
    )
    is_new = await record_request(command, tenancy, ports.driver.records, starts_clock=True)
    await tenancy.publisher.publish(command)
    return Outcome.EFFECT if is_new else Outcome.NOOP_DUPLICATE


async def on_purge_requested(event: Event[PurgeRequested], ports: PurgePorts) -> Outcome:
    """Write the purge down and fence the tenant. From the swap on nothing can create data for it.

    The effect is the purge that is opened: the reconciler may have been the one that fenced for it.
    """
    driver = ports.driver
    is_new = await record_request(event, ports.tenancy, driver.records)
    with suppress(ObjectNotFound):  # a command for a tenant that another purge fenced leaves no record
        record = await driver.records.read(event.subject, event.data.purge_id)
        if record.step == "requested" and await driver.fence(record) is None:
            return Outcome.NOOP_DUPLICATE
        ports.wake_driver()
    return Outcome.EFFECT if is_new else Outcome.NOOP_DUPLICATE


async def on_export_acknowledged(event: Event[ExportAcknowledged], ports: PurgePorts) -> Outcome:
    """The tenant took its export. Where a purge waits for that, it goes on."""
    data = event.data
    try:
        purge = await ports.driver.records.read(event.subject, data.export_id)
    except ObjectNotFound:
        return Outcome.NOOP_STALE  # an export that the tenant asked for itself
    if purge.export is None or not awaits_acknowledgement(purge):
        return Outcome.NOOP_STALE  # none that a purge waits for
    if purge.export.adapter_digest != data.adapter_digest:
        raise Refused("foreign-acknowledgement", "refused: this export holds another adapter than is acknowledged")
    noted = await ports.driver.handover.acknowledge(purge, data.acknowledged_by, event.time)
    ports.wake_driver()
    return Outcome.EFFECT if noted else Outcome.NOOP_DUPLICATE


async def on_replica_evicted(event: Event[ReplicaEvicted], ports: PurgePorts) -> Outcome:
    """Note a replica's acknowledgement, once its signature and its words are right.

    It counts as long as the process that signed holds the replica's lease. Whoever takes the lease over after this look
    starts on a state that is fenced, and never holds anything of the tenant; whoever had it before, another signature
    speaks for, or the end of that lease.
    """
    data = event.data
    purge: PurgeRecord | None = None
    try:
        purge = await ports.driver.records.read(event.subject, data.cause_id)
    except ObjectNotFound:
        if data.names_an_adapter:
            return Outcome.NOOP_STALE  # the acknowledgement of a retirement: whether it is a good one, adapters says
    receipt = checked_eviction(event.subject, data, ports.verifier)
    if purge is None:
        return Outcome.NOOP_STALE  # of a purge that is not ours
    require_demanded(receipt, await fenced_since(purge, ports.tenancy))
    if (await _adapters_of(TenantId(event.subject), ports.tenancy)).intersection(receipt.remaining):
        raise Refused("incomplete-eviction", "refused: the replica's engine still lists an adapter of the tenant")
    if not await holds_lease(ports.tenancy.objects, receipt.replica_id, receipt.incarnation):
        return Outcome.NOOP_STALE  # by a process before a restart, or not in any record
    noted = await ports.driver.acknowledge(event.subject, data.cause_id, acknowledged(data, receipt), data.receipt)
    ports.wake_driver()
    return Outcome.EFFECT if noted else Outcome.NOOP_DUPLICATE


async def _adapters_of(tenant: TenantId, tenancy: Tenancy) -> set[str]:
    """The digests under which the tenant has files, until the purge deletes them: the state was emptied before."""
    prefix = object_keys.tenant_area(tenant, "adapters")
    return {key.removeprefix(prefix).partition("/")[0] async for key in tenancy.objects.keys(prefix)}
