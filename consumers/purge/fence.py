"""The fence: one swap after which the tenant's state refuses every writer, for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

from consumers.purge.policy import PurgePolicy
from schemas.bus.envelope import Event
from schemas.bus.events import PurgeFenced, PurgeRequested
from schemas.objects.purges import PurgeExport, PurgeRecord
from schemas.objects.state import CurationState, PurgeState, TenantState, oldest_first
from schemas.tenant.policy import waits_until
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.tracing import current_trace
from tenancy.state.registry import Change, owing
from tenancy.tenant_id import TenantId


async def opened(data: PurgeRequested, event: Event, tenancy: Tenancy, records: PurgeRecords) -> bool:
    """Write the command down as a purge in step ``requested``; whether the tenant was active until now.

    From here on no Kafka offset has to remember it. Nothing is written for a tenant that another purge fenced.
    Raises :class:`UnknownTenant`.
    """
    state = (await tenancy.states.read(TenantId(event.subject))).state
    is_own = state.status == "purging" and state.purge is not None and state.purge.purge_id == data.purge_id
    # Whoever asked may have a clock that is ahead: a request from the future would move the deadline there.
    requested_at = min(event.time, tenancy.clock())
    if state.status == "active" or is_own:
        await records.create(
            PurgeRecord(
                purge_id=data.purge_id,
                tenant=state.tenant,
                step="requested",
                requested_at=requested_at,
                requested_by=data.requested_by,
                reason_code=data.reason_code,
                request_event_id=event.id,
                traceparent=current_trace(),
                deadline=_deadline(requested_at, state),
                sla_days=state.policy.deletion_sla_days,
                baa_reference=state.policy.baa_reference,
                moved_at=tenancy.clock(),
            )
        )
    return state.status == "active"


async def fence(
    record: PurgeRecord, tenancy: Tenancy, records: PurgeRecords, replicas: Replicas, policy: PurgePolicy
) -> PurgeRecord | None:
    """Swap the state to ``purging``, emptied, and note what was there at that moment.

    Any process may, again and again: the swap finds the tenant fenced, and the record moves once. Returns None, and
    removes the record, where another purge fenced the tenant first.
    """
    tenant = TenantId(record.tenant)
    state = (await tenancy.outbox.swap(tenant, _fenced(record, tenancy))).state
    purge = state.purge
    if purge is None or purge.purge_id != record.purge_id:
        await records.remove(record.purge_id)
        return None
    deadline = _deadline(record.requested_at, state)
    export = None
    if state.policy.right_of_export:
        until = waits_until(purge.fenced_at, state.policy.export_wait, deadline)
        export = PurgeExport(adapter_digest=purge.export_digest, waits_until=until)
    # Listed after the swap: a replica that is not in the list yet reads the fenced state before it serves.
    found = tuple([replica async for replica in replicas.answerable()])

    def noted(current: PurgeRecord) -> PurgeRecord:
        # Some may have acknowledged between the swap, which told them, and now.
        early = [ack for ack in current.acknowledgements if ack.replica_id in found]
        update = {
            "step": "fenced",
            "fenced_at": purge.fenced_at,
            "deadline": deadline,
            "sla_days": state.policy.deletion_sla_days,
            "baa_reference": state.policy.baa_reference,
            "export": export,
            "holds": state.holds,
            "settled_at": purge.fenced_at + timedelta(seconds=policy.settle_seconds),
            "replicas": found,
            "receipts": {replica: receipt for replica, receipt in current.receipts.items() if replica in found},
            "acknowledgements": tuple(ack.model_copy(update={"at": max(ack.at, purge.fenced_at)}) for ack in early),
            "subcontractors": policy.subcontractors,
            "backups_kept": policy.backups_kept,
            "confirmations_until": policy.confirmations_until(purge.fenced_at, deadline),
        }
        return current.model_copy(update=update)

    return await records.move(record, noted)


def _fenced(record: PurgeRecord, tenancy: Tenancy) -> Change:
    def change(state: TenantState) -> TenantState:
        if state.status != "active":
            return state
        fenced_at = max(tenancy.clock(), record.requested_at)
        emptied = state.model_copy(
            update={
                "status": "purging",
                "fence": state.fence + 1,
                "curation": CurationState(),
                "runs": {},
                "adapters": {},
                "active_adapter": None,
                "activations": 0,
                "adapter_history": (),
                "outbox": (),
                "purge": PurgeState(
                    purge_id=record.purge_id,
                    fenced_at=fenced_at,
                    export_digest=_adapter_to_take(state) if state.policy.right_of_export else None,
                ),
            }
        )
        announcement = PurgeFenced(
            purge_id=record.purge_id, fenced_at=fenced_at, deadline=_deadline(record.requested_at, state)
        )
        return owing(emptied, tenancy.outbox.entry(announcement, record.request_event_id))

    return change


def _adapter_to_take(state: TenantState) -> str | None:
    """The active adapter or, where the base model answered, the newest."""
    if state.active_adapter is not None:
        return state.active_adapter
    ready = {digest: adapter for digest, adapter in state.adapters.items() if adapter.status == "ready"}
    return next(reversed(oldest_first(ready)), None)


def _deadline(requested_at: datetime, state: TenantState) -> datetime:
    return requested_at + timedelta(days=state.policy.deletion_sla_days)
