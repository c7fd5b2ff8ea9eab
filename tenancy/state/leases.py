"""Leases training runs, with fencing numbers.

The lease says who should work; the clock may be wrong about it. Safety comes from the fence alone: every acquisition
raises the tenant's fence by one in ``state.json``, and publishing is a swap of that same object which requires the
fence that the worker was given (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from schemas.objects import object_keys
from schemas.objects.state import RunState, TenantState
from schemas.objects.training import LeaseRecord
from tenancy.errors import LeaseHeld, LeaseLost, ObjectNotFound, PreconditionFailed, Refused
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.threads import ahead_of_others
from tenancy.state.outbox import Outbox
from tenancy.state.registry import require_active
from tenancy.storage.tenant_store import TenantStore

LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class Lease:
    """A held lease: the record and the ETag that the next renewal must name."""

    record: LeaseRecord
    etag: str


def holds(state: TenantState, run_id: str, fence: int) -> bool:
    """Whether the holder of ``fence`` may still publish this run."""
    run = state.runs.get(run_id)
    return state.status == "active" and run is not None and run.status == "running" and run.fence == fence


def with_run(state: TenantState, run_id: str, run: RunState) -> TenantState:
    """The state with one run replaced."""
    return state.evolve(runs={**state.runs, run_id: run})


@dataclass(frozen=True)
class Leases:
    """Acquires and renews leases on the runs of one tenant."""

    store: TenantStore
    outbox: Outbox
    holder: str
    clock: Clock = utc_now
    seconds: float = LEASE_SECONDS

    async def alive(self, run_id: str, run: RunState) -> bool:
        """Whether somebody holds this run's lease now.

        Between the swap that raised the fence and the first write of the lease object there is no record of that
        fence. Its holder counts as alive for as long as a lease lasts: counted as dead it would be given up while it
        works, or cost the run an attempt. One that did die there is found dead like any other.
        """
        if run.status != "running":
            return False
        record, _ = await self.store.find_record(object_keys.lease(run_id), LeaseRecord)
        if record is not None and record.fence >= run.fence:  # later: somebody took it since the run was read
            return record.expires_at > self.clock()
        return run.taken_at is not None and self.clock() < run.taken_at + timedelta(seconds=self.seconds)

    async def acquire(
        self, run_id: str, on_acquired: Callable[[TenantState, int], TenantState] = lambda state, _: state
    ) -> Lease:
        """Take the lease with a new fence. ``on_acquired`` adds to the same swap, e.g. events to publish.

        Raises :class:`LeaseHeld` while the holder of this or of another run of the tenant is alive,
        :class:`TenantFenced`, and :class:`Refused` when the run is not one that can be worked on. Then nothing is
        written, and no attempt is used.
        """
        tenant = self.store.tenant
        current = await self.outbox.states.read(tenant)
        seen = current.state.runs
        for each_id, each in seen.items():
            if await self.alive(each_id, each):
                raise LeaseHeld(each_id)

        now = self.clock()

        def take(state: TenantState) -> TenantState:
            require_active(state)
            run = state.runs.get(run_id)
            if run is None or run.status not in ("queued", "running"):
                raise Refused("run-not-open", "refused: this run is not waiting for a worker")
            running = {each_id: each for each_id, each in state.runs.items() if each.status == "running"}
            for each_id, each in {**running, run_id: run}.items():
                if each != seen.get(each_id):  # taken since it was looked at
                    raise LeaseHeld(each_id)
            fence = state.fence + 1
            taken = run.evolve(status="running", fence=fence, taken_at=now, attempts=run.attempts + 1)
            return on_acquired(with_run(state.evolve(fence=fence), run_id, taken), fence)

        taken = await self.outbox.states.swap(tenant, take, base=current)
        fence = taken.state.runs[run_id].fence
        record = self._record(run_id, fence)
        etag = await self.store.put_record(object_keys.lease(run_id), record)
        lease = Lease(record, etag)
        # A slower holder of an earlier fence may just have overwritten the record; the state decides.
        present = await self.outbox.states.read(tenant)
        if not holds(present.state, run_id, fence):
            raise LeaseLost(run_id)
        # Paid after the record is written: a bus that answers slowly must not outlast the grace of a new holder.
        await self.outbox.flush(tenant, present)
        return lease

    async def renew(self, lease: Lease) -> Lease:
        """Extend the lease. Raises :class:`LeaseLost` when the fence moved on, the tenant was fenced, or anybody
        else wrote or removed the record. So no lease outlives a fence by more than its own seconds.
        """
        with ahead_of_others():
            state = (await self.outbox.states.read(self.store.tenant)).state
            if not holds(state, lease.record.run_id, lease.record.fence):
                raise LeaseLost(lease.record.run_id)
            record = self._record(lease.record.run_id, lease.record.fence)
            return await self._replaced(lease, record)

    async def _replaced(self, lease: Lease, record: LeaseRecord) -> Lease:
        """What was written before is read back: the client tries again where an answer is lost, and meets itself."""
        key = object_keys.lease(record.run_id)
        try:
            return Lease(record, await self.store.put_record(key, record, if_match=lease.etag))
        except (PreconditionFailed, ObjectNotFound):
            with suppress(ObjectNotFound):
                found, etag = await self.store.get_record(key, LeaseRecord)
                if found == record:
                    return Lease(record, etag)
        raise LeaseLost(record.run_id)

    def _record(self, run_id: str, fence: int) -> LeaseRecord:
        expires_at = self.clock() + timedelta(seconds=self.seconds)
        return LeaseRecord(run_id=run_id, holder=self.holder, fence=fence, expires_at=expires_at, seconds=self.seconds)
