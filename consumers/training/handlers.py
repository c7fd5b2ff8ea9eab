"""Intake: a training command is made durable and acknowledged. Nothing is trained here.

aiokafka revokes every partition at each rebalance and runs an unacknowledged event again; a handler that trained
would train several times. So the job's state is in the object store, and no Kafka offset has to remember it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from schemas import object_keys
from schemas.envelope import Event
from schemas.events import TrainingRequested
from schemas.outcome import Outcome
from schemas.records import JobRecord
from schemas.state import RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed
from tenancy.leases import with_run
from tenancy.state import require_active
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class TrainingPorts:
    """What intake acts through. ``wake_runner`` saves waiting for the runner's next look; losing it loses nothing."""

    tenancy: Tenancy
    wake_runner: Callable[[], None]


async def on_training_requested(event: Event, ports: TrainingPorts) -> Outcome:
    """Write the job record, create-if-absent, and put the run in the tenant's queue."""
    data = cast(TrainingRequested, event.data)
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    snapshot = await tenancy.active(tenant)
    if data.run_id in snapshot.state.runs:
        return Outcome.NOOP_DUPLICATE
    store = await tenancy.store(tenant)
    job = JobRecord(
        run_id=data.run_id,
        tenant=tenant,
        trigger=data.trigger,
        hyperparameters=data.hyperparameters or snapshot.state.policy.hyperparameters,
        request_event_id=event.id,
        requested_at=event.time,
    )
    with suppress(PreconditionFailed):  # an earlier delivery got this far
        await store.put_record(object_keys.job(data.run_id), job, if_absent=True)

    def enqueue(state: TenantState) -> TenantState:
        require_active(state)
        if data.run_id in state.runs:
            return state
        return with_run(state, data.run_id, RunState(status="queued", requested_at=event.time))

    await tenancy.states.swap(tenant, enqueue, base=snapshot)
    ports.wake_runner()
    return Outcome.EFFECT
