"""The events of a purge. What takes longer than a handler may is done by the driver, which these wake."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from consumers.purge.driver import PurgeDriver
from consumers.purge.fence import opened
from consumers.purge.handover import awaits_acknowledgement
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.envelope import Event
from schemas.bus.events import ExportAcknowledged, PurgeRequested, ReplicaEvicted, TenantChurned
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused
from tenancy.evidence.eviction_receipts import acknowledged, checked_eviction
from tenancy.evidence.signing import Verifier
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class PurgePorts:
    """What the purge acts through."""

    tenancy: Tenancy
    verifier: Verifier
    driver: PurgeDriver
    wake_driver: Callable[[], None]


async def on_tenant_churned(event: Event, ports: PurgePorts) -> Outcome:
    """The contract ended: command the purge."""
    data = cast(TenantChurned, event.data)
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    state = (await tenancy.states.read(tenant)).state
    requested = PurgeRequested(purge_id=churn_purge_id(tenant), reason_code="churned", requested_by=data.requested_by)
    await tenancy.publisher.publish(
        Event(subject=tenant, data=requested, time=event.time, source=tenancy.outbox.source, causation_id=event.id)
    )
    return Outcome.EFFECT if state.status == "active" else Outcome.NOOP_DUPLICATE


async def on_purge_requested(event: Event, ports: PurgePorts) -> Outcome:
    """Write the purge down and fence the tenant. From the swap on nothing can create data for it."""
    data = cast(PurgeRequested, event.data)
    driver = ports.driver
    was_active = await opened(data, event, ports.tenancy, driver.records)
    with suppress(ObjectNotFound):  # a command for a tenant that another purge fenced leaves no record
        record = await driver.records.read(data.purge_id)
        if record.tenant != event.subject:
            raise Refused("foreign-purge", "refused: a purge of this id is another tenant's; ask again under a new id")
        if record.step == "requested" and await driver.fence(record) is None:
            return Outcome.NOOP_DUPLICATE
        ports.wake_driver()
    return Outcome.EFFECT if was_active else Outcome.NOOP_DUPLICATE


async def on_export_acknowledged(event: Event, ports: PurgePorts) -> Outcome:
    """The tenant took its export. Where a purge waits for that, it goes on."""
    data = cast(ExportAcknowledged, event.data)
    try:
        purge = await ports.driver.records.read(data.export_id)
    except ObjectNotFound:
        return Outcome.NOOP_STALE  # an export that the tenant asked for itself
    if purge.tenant != event.subject or purge.export is None or not awaits_acknowledgement(purge):
        return Outcome.NOOP_STALE  # none that a purge waits for
    if purge.export.adapter_digest != data.adapter_digest:
        raise Refused("foreign-acknowledgement", "refused: this export holds another adapter than is acknowledged")
    noted = await ports.driver.handover.acknowledge(purge.purge_id, data.acknowledged_by, event.time)
    ports.wake_driver()
    return Outcome.EFFECT if noted else Outcome.NOOP_DUPLICATE


async def on_replica_evicted(event: Event, ports: PurgePorts) -> Outcome:
    """Note a replica's acknowledgement, once its signature and its words are right."""
    data = cast(ReplicaEvicted, event.data)
    purge: PurgeRecord | None = None
    try:
        purge = await ports.driver.records.read(data.cause_id)
    except ObjectNotFound:
        if data.names_an_adapter:
            return Outcome.NOOP_STALE  # the acknowledgement of a retirement: whether it is a good one, adapters says
    receipt = checked_eviction(event.subject, data, ports.verifier)
    if purge is None:
        return Outcome.NOOP_STALE  # of a purge that is not ours
    if purge.tenant != event.subject:
        raise Refused("foreign-receipt", "refused: the receipt is about another tenant, replica or cause")
    if (await _adapters_of(TenantId(event.subject), ports.tenancy)).intersection(receipt.remaining):
        raise Refused("incomplete-eviction", "refused: the replica's engine still lists an adapter of the tenant")
    noted = await ports.driver.acknowledge(data.cause_id, acknowledged(data, receipt), data.receipt)
    ports.wake_driver()
    return Outcome.EFFECT if noted else Outcome.NOOP_DUPLICATE


async def _adapters_of(tenant: TenantId, tenancy: Tenancy) -> set[str]:
    """The digests under which the tenant has files, until the purge deletes them: the state was emptied before."""
    prefix = object_keys.tenant_area(tenant, "adapters")
    return {key.removeprefix(prefix).partition("/")[0] async for key in tenancy.objects.keys(prefix)}
