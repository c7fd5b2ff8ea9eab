"""Publishes a staged adapter: one swap of the tenant's state decides, everything after it is derived.

The swap requires the fence that the worker was given and that no eligibility was taken away since the set was
frozen. After it, moving the files out of staging and announcing them is work that anybody can finish.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consumers.training.freeze import require_still_eligible
from consumers.training.scratch import scratch_folder
from schemas.bus.events import (
    AdapterReady,
    EventData,
    TrainingCompleted,
    TrainingFailed,
    TrainingRejected,
    UsageRecorded,
)
from schemas.evidence.statements import TrainingManifest
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost, PreconditionFailed
from tenancy.state.leases import holds, with_run
from tenancy.state.registry import Change, require_active, with_events
from tenancy.storage.tenant_store import TenantStore

MAX_ATTEMPTS = 3


class _EligibilityMoved(Exception):
    """A withdrawal was entered into the state between the check of the set and the swap."""


@dataclass(frozen=True)
class Publication:
    """Publishes one tenant's runs."""

    tenancy: Tenancy
    store: TenantStore

    async def publish(self, manifest: TrainingManifest, frozen_after: str | None) -> None:
        """The one swap. ``frozen_after`` is the last withdrawal that the frozen set took into account.

        Raises :class:`LeaseLost` when the fence has moved on or the tenant is being purged, and
        :class:`TrainingSetVoid` when an example of the set must not be used any more.
        """
        while True:
            snapshot = await self.tenancy.states.read(self.store.tenant)
            eligibility_version = snapshot.state.curation.eligibility_version
            if eligibility_version != frozen_after:
                # It is entered after the records say so: read now, they say it.
                now = self.tenancy.clock()
                await require_still_eligible(self.store, snapshot.state.policy, manifest.training_set, now)
            try:
                await self.tenancy.states.swap(
                    self.store.tenant, self._published(manifest, eligibility_version), base=snapshot
                )
                return
            except _EligibilityMoved:
                continue

    def _published(self, manifest: TrainingManifest, eligibility_version: str | None) -> Change:
        now = self.tenancy.clock()

        def change(state: TenantState) -> TenantState:
            if not holds(state, manifest.run_id, manifest.fence):
                raise LeaseLost(manifest.run_id)
            if state.curation.eligibility_version != eligibility_version:
                raise _EligibilityMoved
            run = state.runs[manifest.run_id].evolve(
                status="publishing",
                training_set_id=manifest.training_set.set_id,
                adapter_digest=manifest.adapter_digest,
                trained_tokens=manifest.trained_tokens,
                train_seconds=manifest.train_seconds,
            )
            adapter = AdapterState(
                status="publishing",
                run_id=manifest.run_id,
                fence=manifest.fence,
                training_set_id=manifest.training_set.set_id,
                base_model_digest=manifest.base_model_digest,
                size_bytes=manifest.size_bytes,
                published_at=now,
            )
            # Nobody has this digest: it covers the run's id, and a run publishes once.
            adapters = {**state.adapters, manifest.adapter_digest: adapter}
            return with_run(state.evolve(adapters=adapters), manifest.run_id, run)

        return change

    async def promote(self, run_id: str, work_dir: Path) -> None:
        """Move a published run's files out of staging and announce them. Anybody may do it, any number of times."""
        state = (await self.tenancy.states.read(self.store.tenant)).state
        run = state.runs.get(run_id)
        if state.status != "active" or run is None or run.status != "publishing" or run.adapter_digest is None:
            return
        digest = run.adapter_digest
        if state.adapters[digest].status == "publishing":
            with scratch_folder(work_dir, f"{run_id}-{run.fence}") as scratch:
                await self._copy(run_id, run.fence, digest, scratch)
        # Before the run is completed, since nobody looks at a completed run again.
        await self.store.erase_folder("staging", run_id)
        await self.tenancy.outbox.swap(self.store.tenant, self._completed(run_id, digest))

    async def _copy(self, run_id: str, fence: int, digest: str, scratch: Path) -> None:
        for file in object_keys.ADAPTER_FILES:
            target = object_keys.adapter(digest, file)
            if await self.store.exists(target):
                continue  # somebody was here before
            await self.store.get_file(object_keys.staging(run_id, fence, file), scratch / file)
            with suppress(PreconditionFailed):
                await self.store.put_file(target, scratch / file, if_absent=True)

    def _completed(self, run_id: str, digest: str) -> Change:
        def change(state: TenantState) -> TenantState:
            require_active(state)
            run = state.runs[run_id]
            if run.status != "publishing":
                return state
            adapter = state.adapters[digest]
            events: tuple[EventData, ...] = (
                AdapterReady(
                    adapter_digest=digest,
                    run_id=adapter.run_id,
                    base_model_digest=adapter.base_model_digest,
                    size_bytes=adapter.size_bytes,
                ),
                TrainingCompleted(
                    run_id=run_id,
                    fence=run.fence,
                    training_set_id=adapter.training_set_id,
                    adapter_digest=digest,
                ),
                UsageRecorded(
                    usage_id=run_id,
                    source="training",
                    training_tokens=run.trained_tokens,
                    engine_seconds=run.train_seconds,
                    gpu_seconds=run.train_seconds,
                    bytes_stored=adapter.size_bytes,
                ),
            )
            ready = adapter if adapter.status == "retired" else adapter.evolve(status="ready")
            done = with_run(
                state.evolve(adapters={**state.adapters, digest: ready}),
                run_id,
                run.evolve(status="completed"),
            )
            return with_events(done, *(self.tenancy.outbox.entry(data) for data in events))

        return change

    async def reject(self, run_id: str, fence: int, reason_code: str) -> None:
        """The run cannot be done as asked."""

        def rejected(run: RunState) -> tuple[RunState, EventData | None]:
            event = TrainingRejected(run_id=run_id, reason_code=reason_code)
            return run.evolve(status="rejected", reason_code=reason_code), event

        await self._end(run_id, fence, rejected)

    async def fail(self, run_id: str, fence: int, reason_code: str) -> None:
        """This attempt failed: wait for another one, or give up after :data:`MAX_ATTEMPTS`."""

        def failed(run: RunState) -> tuple[RunState, EventData | None]:
            if run.attempts < MAX_ATTEMPTS:
                return run.evolve(status="queued"), None
            event = TrainingFailed(run_id=run_id, attempts=run.attempts, reason_code=reason_code)
            return run.evolve(status="failed", reason_code=reason_code), event

        await self._end(run_id, fence, failed)

    async def abandon(self, run_id: str, fence: int, reason_code: str) -> None:
        """The lease is over. The swap that publishes may still be on its way, since no request can be called back: what
        it would publish is erased once it can land no more, and not at all where it has landed.
        """
        try:
            await self.fail(run_id, fence, reason_code)  # a swap of the state before this one lands no more
        except LeaseLost:
            run = (await self.tenancy.states.read(self.store.tenant)).state.runs.get(run_id)
            if run is None or (run.status, run.fence) != ("publishing", fence):
                await self.store.erase_folder("staging", run_id, str(fence))

    async def give_back(self, run_id: str, fence: int) -> None:
        """Another attempt is made, and this one does not count. It did not fail: the frozen set lost an example, or the
        worker was asked to end. One that is killed before this swap has used its attempt.
        """

        def queued(run: RunState) -> tuple[RunState, EventData | None]:
            return run.evolve(status="queued", attempts=run.attempts - 1), None

        await self._end(run_id, fence, queued)

    async def _end(
        self, run_id: str, fence: int, ended: Callable[[RunState], tuple[RunState, EventData | None]]
    ) -> None:
        def change(state: TenantState) -> TenantState:
            if not holds(state, run_id, fence):
                raise LeaseLost(run_id)
            run, event = ended(state.runs[run_id])
            changed = with_run(state, run_id, run)
            return changed if event is None else with_events(changed, self.tenancy.outbox.entry(event))

        swapped = await self.tenancy.outbox.swap(self.store.tenant, change)
        # Staged weights are never published now, and were made of what may be withdrawn. Of a run that goes on only
        # this attempt's are erased: another may have taken it. After a crash here the runner finds them.
        run = swapped.state.runs.get(run_id)
        is_over = run is None or run.is_over
        await self.store.erase_folder("staging", run_id, *(() if is_over else (str(fence),)))
