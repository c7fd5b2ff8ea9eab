"""Fences a tenant by one swap of its state, which refuses every later writer."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from consumers.purge.policy import PurgePolicy
from schemas.bus.envelope import Event
from schemas.bus.events import PurgeFenced, PurgeRequested
from schemas.objects.purges import PurgeExport, PurgeRecord
from schemas.objects.state import CurationState, PurgeState, TenantState, oldest_first
from schemas.tenant.policy import waits_until
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound
from tenancy.lifecycle.purge_records import PurgeRecords, accepted, asked_for
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.tracing import current_trace
from tenancy.state.registry import Change, with_events
from tenancy.tenant_id import TenantId


async def record_request(
    event: Event[PurgeRequested], tenancy: Tenancy, records: PurgeRecords, *, starts_clock: bool = False
) -> bool:
    """Write the command down as a purge in step ``requested``; whether that was not done before.

    From here on no Kafka offset has to remember it. No purge is opened for a tenant that another one fenced.
    ``starts_clock``: the deletion SLA counts from this command, whichever other one was or is carried out.
    Raises :class:`UnknownTenant`.
    """
    data, state = event.data, (await tenancy.states.read(TenantId(event.subject))).state
    now = tenancy.clock()
    # Whoever asked may have a clock that is ahead: a request from the future would move the deadline there.
    opening = asked(state, data, min(event.time, now), now)
    command = opening.evolve(request_event_id=event.id, traceparent=current_trace())
    purge_id = data.purge_id if state.purge is None else state.purge.purge_id
    is_open = state.status == "active" or (state.status == "purging" and purge_id == data.purge_id)
    change = asked_for(command) if starts_clock else accepted(command)
    try:
        return (await records.note(state.tenant, purge_id, change))[1]
    except ObjectNotFound:
        if not is_open:
            return False
        # Or another delivery has opened it in this moment.
        return await records.create(command) or (await records.note(state.tenant, purge_id, change))[1]


def asked(state: TenantState, command: PurgeRequested, requested_at: datetime, now: datetime) -> PurgeRecord:
    """A purge that was asked for at ``requested_at``, as it is written down ``now``, before anything is done for it."""
    return PurgeRecord(
        purge_id=command.purge_id,
        tenant=state.tenant,
        step="requested",
        requested_at=requested_at,
        requested_by=command.requested_by,
        reason_code=command.reason_code,
        deadline=requested_at + timedelta(days=state.policy.deletion_sla_days),
        sla_days=state.policy.deletion_sla_days,
        baa_reference=state.policy.baa_reference,
        moved_at=now,
    )


async def fence(
    record: PurgeRecord, tenancy: Tenancy, records: PurgeRecords, replicas: Replicas, policy: PurgePolicy
) -> PurgeRecord | None:
    """Swap the state to ``purging``, emptied, and note what was there at that moment.

    Any process may, again and again: the swap finds the tenant fenced, and the record moves once. Returns None, and
    removes the record, where another purge fenced the tenant first: the deletion SLA of that one counts from whichever
    was asked for first.
    """
    tenant = TenantId(record.tenant)
    state = (await tenancy.outbox.swap(tenant, _fenced(record, tenancy))).state
    purge = state.purge
    if purge is None or purge.purge_id != record.purge_id:
        if purge is not None:
            with suppress(ObjectNotFound):
                await records.note(record.tenant, purge.purge_id, asked_for(record))
        await records.remove(record)
        return None
    # Listed after the swap: a replica that is not in the list yet reads the fenced state before it serves.
    found = tuple([replica async for replica in replicas.answerable()])
    incarnations = await replicas.incarnations(found)

    def noted(current: PurgeRecord) -> PurgeRecord:
        # Some may have acknowledged between the swap, which told them, and now.
        early = [ack for ack in current.acknowledgements if ack.replica_id in found]
        deadline = current.deadline  # as the policy promised when the purge was asked for
        export = None
        if state.policy.right_of_export:
            until = waits_until(purge.fenced_at, state.policy.export_wait, deadline)
            export = PurgeExport(adapter_digest=purge.export_digest, waits_until=until)
        update = {
            "step": "fenced",
            "fenced_at": purge.fenced_at,
            "baa_reference": state.policy.baa_reference,
            "export": export,
            "holds": state.holds,
            "quiesced_at": purge.fenced_at + timedelta(seconds=policy.quiesce_seconds),
            "replicas": found,
            "incarnations": incarnations,
            "receipts": {replica: receipt for replica, receipt in current.receipts.items() if replica in found},
            "acknowledgements": tuple(early),
            "subcontractors": policy.subcontractors,
            "backups_kept": policy.backups_kept,
            "topic_retention": dict(policy.topic_retention),
            "confirmations_until": policy.confirmations_until(purge.fenced_at, deadline),
        }
        return current.evolve(**update)

    return await records.move(record, noted)


async def fenced_since(record: PurgeRecord, tenancy: Tenancy) -> datetime | None:
    """When the tenant was fenced for this purge, also where the record does not say so yet; None where it is not."""
    if record.fenced_at is not None:
        return record.fenced_at
    purge = (await tenancy.states.read(TenantId(record.tenant))).state.purge
    return purge.fenced_at if purge is not None and purge.purge_id == record.purge_id else None


def _fenced(record: PurgeRecord, tenancy: Tenancy) -> Change:
    def change(state: TenantState) -> TenantState:
        if state.status != "active":
            return state
        fenced_at = max(tenancy.clock(), record.requested_at)
        emptied = state.evolve(
            status="purging",
            fence=state.fence + 1,
            curation=CurationState(),
            runs={},
            adapters={},
            active_adapter=None,
            canary=None,
            ended_canary=None,
            activations=0,
            adapter_history=(),
            knowledge=None,
            api_keys=(),
            identity_provider=None,
            outbox=(),
            budget=None,
            purge=PurgeState(
                purge_id=record.purge_id,
                fenced_at=fenced_at,
                export_digest=_adapter_to_take(state) if state.policy.right_of_export else None,
            ),
        )
        announcement = PurgeFenced(purge_id=record.purge_id, fenced_at=fenced_at, deadline=record.deadline)
        return with_events(emptied, tenancy.outbox.entry(announcement, record.request_event_id))

    return change


def _adapter_to_take(state: TenantState) -> str | None:
    """The active adapter or, where the base model answered, the newest."""
    if state.active_adapter is not None:
        return state.active_adapter
    ready = {digest: adapter for digest, adapter in state.adapters.items() if adapter.status == "ready"}
    return next(reversed(oldest_first(ready)), None)
