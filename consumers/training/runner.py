"""Starts workers for queued runs, and finishes what a crash left half done.

Which workers run is the launcher's to find, at each look. Two runners are no harm: a second worker finds the lease held
and leaves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from consumers.runtime.policy import HANDLING
from consumers.training.launching.ports import WorkerLauncher, Workers
from consumers.training.publication import MAX_ATTEMPTS, Publication
from consumers.training.scratch import sweep_scratch
from consumers.training.staging import erase_leftovers
from schemas.bus.events import TrainingFailed
from schemas.objects.state import RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, TenantFenced, UnknownTenant
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE, trouble_logged
from tenancy.state.archive import Archive, surplus_adapters, surplus_runs
from tenancy.state.budgets import is_stopped
from tenancy.state.leases import Leases, with_run
from tenancy.state.open_work import LOOKS_AT_ONCE, Left, Marked, OpenWork, announce, everybody
from tenancy.state.registry import publishable, with_events
from tenancy.state.rounds import Rounds
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.training")
_tried = partial(trouble_logged, logger, "tenant skipped by the runner")

OUTBOX_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Waiting:
    """A run that is to be started when a worker is free."""

    tenant: TenantId
    run_id: str
    attempt: int


@dataclass
class Runner:
    """Looks at the tenants with open work that are of its share: pays the outbox, finishes publications, starts what
    waits, the tenants in turn. What killed workers left in their scratch folders and in staging goes too.

    What it remembers of a tenant is bounded by its unfinished runs, and only spares work: no decision rests on it.
    ``quiesce_seconds``: how long who announced work may take to write it, or to be cut off.
    ``deadline_seconds``: no look at a tenant lasts longer. A purge waits that long for a runner that found the tenant
    active, and no longer. What was cut off is gone on with at the next look: each file is moved once.
    """

    tenancy: Tenancy
    launcher: WorkerLauncher
    work_dir: Path
    lease_seconds: float
    retry_backoff_seconds: float
    quiesce_seconds: float
    deadline_seconds: float = HANDLING.deadline_seconds
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    _not_before: dict[TenantId, dict[str, float]] = field(default_factory=dict)
    _started_last: TenantId | None = field(default=None, init=False)
    _work: OpenWork = field(init=False)

    def __post_init__(self) -> None:
        objects, owns = self.tenancy.objects, lambda tenant: self.owns(tenant)
        self._work = OpenWork(objects, "training", self.quiesce_seconds, lambda: self.now(), owns)

    async def reconcile(self) -> None:
        await asyncio.to_thread(sweep_scratch, self.work_dir)
        marked = self._in_turn([one for one in await self._work.marked() if one.is_own])
        if not marked:
            return
        workers = await self.launcher.look()
        # Side by side; then what waits is started in their order, and not in that of the store's answers.
        waiting = await gathered((self._tried_at(one, workers) for one in marked), at_once=LOOKS_AT_ONCE)
        for one in waiting:
            if one is not None:
                with _tried():
                    await self._start(one, workers)

    async def _tried_at(self, marked: Marked, workers: Workers) -> Waiting | None:
        with _tried(), self._work.alone(marked.tenant) as is_alone:
            if is_alone:
                async with asyncio.timeout(self.deadline_seconds):
                    left, waiting = await self._look_at(marked.tenant, workers)
                await self._work.tidy(marked, left)
                return waiting
        return None

    async def _start(self, waiting: Waiting, workers: Workers) -> None:
        tenant, run_id = waiting.tenant, waiting.run_id
        if workers.has_capacity() and not workers.is_running(tenant, run_id):
            self._not_before.setdefault(tenant, {})[run_id] = self.now() + self.retry_backoff_seconds
            await workers.start(tenant, run_id, waiting.attempt)
            self._started_last = tenant

    async def sweep(self) -> None:
        """The round over all tenants: announces work that no marker names, and erases what late workers staged."""
        for tenant in await Rounds(self.tenancy.states, "training", self.tenancy.clock).take():
            with _tried():
                async with asyncio.timeout(self.deadline_seconds):
                    state = (await self.tenancy.states.read(tenant)).state
                    if state.status != "active":
                        continue
                    if _is_work(state):
                        await announce(self.tenancy.objects, "training", tenant)
                    await self._sweep_staging(tenant, state)

    def _in_turn(self, marked: list[Marked]) -> list[Marked]:
        """Those behind the one that was started last come first, so that no busy tenant has every worker to itself."""
        last = self._started_last
        return sorted(marked, key=lambda one: (last is not None and one.tenant <= last, one.tenant))

    async def _look_at(self, tenant: TenantId, workers: Workers) -> tuple[Left, Waiting | None]:
        try:
            snapshot = await self.tenancy.states.read(tenant)
        except UnknownTenant:
            return "nothing", None
        if snapshot.state.status != "active":
            self._not_before.pop(tenant, None)
            return "fenced", None
        if self._is_overdue(snapshot.state):
            snapshot = await self.tenancy.outbox.flush(tenant, snapshot)
        if surplus_runs(snapshot.state) or surplus_adapters(snapshot.state):
            await self._tidy(tenant)
        unfinished = [(run_id, run) for run_id, run in snapshot.state.runs.items() if not run.is_over]
        self._forget_ended(tenant, {run_id for run_id, _ in unfinished})
        may_begin = not is_stopped(snapshot.state, self.tenancy.clock())
        waiting = await self._tend(tenant, unfinished, workers, may_begin) if unfinished else None
        if _is_work(snapshot.state):
            return "something", waiting  # or not any more: the next look sees
        await self._sweep_staging(tenant, snapshot.state)  # whoever ended a run may have died before it did
        return "nothing", None

    def _forget_ended(self, tenant: TenantId, unfinished: set[str]) -> None:
        waits = self._not_before.pop(tenant, {})
        if kept := {run_id: until for run_id, until in waits.items() if run_id in unfinished}:
            self._not_before[tenant] = kept

    async def _sweep_staging(self, tenant: TenantId, state: TenantState) -> None:
        if state.fence == 0:  # no attempt was ever made
            return
        with suppress(KeyDestroyed):  # purged since the look began
            await erase_leftovers(self.tenancy.states, await self.tenancy.store(tenant))

    async def _tidy(self, tenant: TenantId) -> None:
        with suppress(KeyDestroyed, TenantFenced):  # purged since the look began
            await Archive(await self.tenancy.store(tenant)).tidy(self.tenancy.states)

    def _is_overdue(self, state: TenantState) -> bool:
        """Whether an entry of the outbox was left by a process that died: a living one pays at once."""
        paid_by = self.tenancy.clock() - timedelta(seconds=OUTBOX_GRACE_SECONDS)
        return any(entry.time <= paid_by for entry in publishable(state))

    async def _tend(
        self, tenant: TenantId, unfinished: list[tuple[str, RunState]], workers: Workers, may_begin: bool
    ) -> Waiting | None:
        """Do what is to be done for these runs, and return the one that is to be started next: without ``may_begin``
        only one of which an attempt was made.
        """
        try:
            store = await self.tenancy.store(tenant)
        except KeyDestroyed:
            return None  # purged since the look began
        waiting: Waiting | None = None
        leases = Leases(store, self.tenancy.outbox, "runner", self.tenancy.clock, self.lease_seconds)
        # One run of a tenant at a time: each is trained on what the one before left. A worker is at work before it
        # holds a lease, since importing torch takes seconds. One that is not seen here is refused the lease then.
        busy = any(
            [workers.is_running(tenant, run_id) or await leases.alive(run_id, run) for run_id, run in unfinished]
        )
        for run_id, run in sorted(unfinished, key=lambda item: item[1].requested_at):
            if workers.is_running(tenant, run_id):
                continue
            if run.status == "publishing":
                await Publication(self.tenancy, store).promote(run_id, self.work_dir)
            elif run.attempts >= MAX_ATTEMPTS and not await leases.alive(run_id, run):
                await self._give_up(store, run_id, run)
            elif not busy and waiting is None and self._is_due(tenant, run_id) and (may_begin or run.attempts):
                waiting = Waiting(tenant, run_id, run.attempts + 1)
        return waiting

    def _is_due(self, tenant: TenantId, run_id: str) -> bool:
        return self.now() >= self._not_before.get(tenant, {}).get(run_id, 0.0)

    async def _give_up(self, store: TenantStore, run_id: str, seen: RunState) -> None:
        """Every attempt died without a word: say so, once."""

        def change(state: TenantState) -> TenantState:
            if state.status != "active" or state.runs.get(run_id) != seen:
                return state
            failed = seen.evolve(status="failed", reason_code="worker-died")
            event = TrainingFailed(run_id=run_id, attempts=seen.attempts, reason_code="worker-died")
            return with_events(with_run(state, run_id, failed), self.tenancy.outbox.entry(event))

        # Only afterwards: until the swap the worker that was taken for dead may publish what it staged.
        given_up = (await self.tenancy.outbox.swap(store.tenant, change)).state.runs.get(run_id)
        if given_up is not None and given_up.status == "failed":
            await store.erase_folder("staging", run_id)


def _is_work(state: TenantState) -> bool:
    """Whether there is anything for the runner: a run that is not over, an event that is owed, an entry to archive."""
    is_under_way = any(not run.is_over for run in state.runs.values())
    return is_under_way or bool(publishable(state) or surplus_runs(state) or surplus_adapters(state))
