"""The fence: one swap after which the tenant's state refuses every writer, for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta

from schemas import object_keys
from schemas.envelope import Event
from schemas.events import PurgeFenced, PurgeRequested
from schemas.model import read_tolerant
from schemas.outcome import Outcome
from schemas.records import PurgeRecord, ReplicaRecord
from schemas.state import CurationState, PurgeState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.state import Change, owing
from tenancy.tenant_id import TenantId


async def fence(
    tenant: TenantId, data: PurgeRequested, event: Event, tenancy: Tenancy, settle_seconds: float
) -> Outcome:
    """Swap the state to ``purging``, emptied, and open the purge's record.

    A crash between the two is repaired by the redelivery: the state then names this purge and the record is absent.
    A tenant that is fenced already stays with the purge that fenced it.
    """
    before = await tenancy.states.read(tenant)
    was_active = before.state.status == "active"
    snapshot = await tenancy.outbox.swap(tenant, _fenced(data, event, tenancy), base=before)
    purge = snapshot.state.purge
    if purge is None or purge.purge_id != data.purge_id:
        return Outcome.NOOP_DUPLICATE
    record = PurgeRecord(
        purge_id=data.purge_id,
        tenant=tenant,
        step="fenced",
        requested_at=event.time,
        requested_by=data.requested_by,
        reason_code=data.reason_code,
        fenced_at=purge.fenced_at,
        deadline=_deadline(event.time, snapshot.state),
        settled_at=purge.fenced_at + timedelta(seconds=settle_seconds),
        replicas=tuple([replica async for replica in _alive_replicas(tenancy)]),
    )
    if snapshot.state.status != "purged":
        with suppress(PreconditionFailed):
            await tenancy.objects.put(
                object_keys.purge_key(data.purge_id), record.model_dump_json().encode(), if_absent=True
            )
    return Outcome.EFFECT if was_active else Outcome.NOOP_DUPLICATE


def _fenced(data: PurgeRequested, event: Event, tenancy: Tenancy) -> Change:
    def change(state: TenantState) -> TenantState:
        if state.status != "active":
            return state
        fenced_at = tenancy.clock()
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
                "purge": PurgeState(purge_id=data.purge_id, fenced_at=fenced_at),
            }
        )
        announcement = PurgeFenced(purge_id=data.purge_id, fenced_at=fenced_at, deadline=_deadline(event.time, state))
        return owing(emptied, tenancy.outbox.entry(announcement, event.id))

    return change


def _deadline(requested_at: datetime, state: TenantState) -> datetime:
    return requested_at + timedelta(days=state.policy.deletion_sla_days)


async def _alive_replicas(tenancy: Tenancy) -> AsyncIterator[str]:
    now = tenancy.clock()
    async for key in tenancy.objects.keys(object_keys.REPLICAS_PREFIX):
        with suppress(ObjectNotFound):
            record = read_tolerant(ReplicaRecord, (await tenancy.objects.get(key)).body)
            if record.expires_at > now:
                yield record.replica_id
