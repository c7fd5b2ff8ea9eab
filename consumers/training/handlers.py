"""Accepts training commands: makes each durable and acknowledges it. Nothing is trained here.

aiokafka revokes every partition at each rebalance and runs an unacknowledged event again; a handler that trained
would train several times. So the job's state is in the object store, and no Kafka offset has to remember it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.bus.envelope import Event
from schemas.bus.events import TrainingRejected, TrainingRequested
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.state import RunState, TenantState
from schemas.objects.training import JobRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted
from tenancy.platform.tracing import current_trace
from tenancy.state.archive import Archive
from tenancy.state.leases import with_run
from tenancy.state.open_work import announce
from tenancy.state.registry import require_active, with_events
from tenancy.storage.tenant_store import TenantStore

MAX_QUEUED_RUNS = 16


@dataclass(frozen=True)
class TrainingPorts:
    """What intake acts through. ``wake_runner`` saves waiting for the runner's next look; losing it loses nothing."""

    tenancy: Tenancy
    wake_runner: Callable[[], None]


async def on_training_requested(event: Event[TrainingRequested], ports: TrainingPorts) -> Outcome:
    """Write the job record, create-if-absent, and put the run in the tenant's queue."""
    data = event.data
    work = await ports.tenancy.begin(event)
    run = work.state.runs.get(data.run_id) or await Archive(work.store).run(data.run_id)
    if run is not None:
        await work.flush()
        await _require_same_command(data, run, work.store)
        return Outcome.NOOP_DUPLICATE
    job = JobRecord(
        run_id=data.run_id,
        tenant=work.tenant,
        trigger=data.trigger,
        hyperparameters=data.hyperparameters or work.state.policy.hyperparameters,
        request_event_id=event.id,
        requested_at=event.time,
        traceparent=current_trace(),
    )
    await announce(work.store.objects, "training", work.tenant)
    await work.store.put_if_absent(object_keys.job(data.run_id), job)  # or an earlier delivery got this far

    def enqueue(state: TenantState) -> TenantState:
        require_active(state)
        if data.run_id in state.runs:
            return state
        queued = RunState(trigger=data.trigger, status="queued", requested_at=event.time)
        refusal = _refusal(state, data)
        if refusal is None:
            return with_run(state, data.run_id, queued)
        rejected = queued.evolve(status="rejected", reason_code=refusal)
        answer = TrainingRejected(run_id=data.run_id, reason_code=refusal)
        return with_events(with_run(state, data.run_id, rejected), work.entry(answer))

    enqueued = await work.swap(enqueue)
    await enqueued.flush()
    ports.wake_runner()
    return Outcome.EFFECT


async def _require_same_command(data: TrainingRequested, run: RunState, store: TenantStore) -> None:
    """Raises :class:`Contradicted` for another command under the id of this run.

    What a command leaves to the tenant's policy is in the job as the policy had it, so it contradicts nothing.
    """
    if data.trigger != run.trigger:
        raise Contradicted
    if data.hyperparameters is None:
        return
    job, _ = await store.find_record(object_keys.job(data.run_id), JobRecord)
    if job is not None and job.hyperparameters != data.hyperparameters:
        raise Contradicted


def _refusal(state: TenantState, data: TrainingRequested) -> str | None:
    """Why this run need not or must not wait in the queue, which is part of the state and so must stay small.

    A set is frozen when its run starts: a run of the policy's that has not started will train on everything that
    another one asked for now would.
    """
    queued = [run for run in state.runs.values() if run.status == "queued"]
    if data.trigger == "policy" and any(run.trigger == "policy" and run.attempts == 0 for run in queued):
        return "covered-by-queued-run"
    return "queue-full" if len(queued) >= MAX_QUEUED_RUNS else None
