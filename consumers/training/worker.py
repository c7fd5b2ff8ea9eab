"""Runs one attempt at one training run, in a process of its own.

It holds a lease with a fencing number, writes only to ``staging/<run>/<fence>/``, and publishes by one swap of the
tenant's state. Killed anywhere, it leaves nothing that another attempt could not do again; asked to end, it gives the
attempt back. Without its lease it writes nothing but the end of the attempt, one swap of the state that needs the
fence, and erases what it staged. Moving the published files, for which there is no lease any more, has a deadline. A
purge, which takes the fence away, waits for the longer of lease and deadline and then for nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from consumers.runtime.poison import REFUSED_US
from consumers.runtime.policy import HANDLING
from consumers.training.audit import frozen_record
from consumers.training.base_model import BaseModel
from consumers.training.freeze import Candidates, FrozenSet, TrainingSetVoid, candidates, freeze
from consumers.training.judging import IDENTIFIERS_FOUND, Judged, judged, send_back
from consumers.training.publication import Publication
from consumers.training.result import StepProgress, TrainingResult, TrainingStopped
from consumers.training.scratch import scratch_folder
from consumers.training.settings import TrainingSettings
from consumers.training.trainer import LoraTrainer, Trainer, import_tensor_libraries
from schemas.base.canonical import adapter_digest
from schemas.bus.events import TrainingStarted
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import TRAINING_PREDICATE, StepMetric, TrainingManifest, statement
from schemas.models.adapter_files import AdapterRefused
from schemas.models.model_digest import file_sha256
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.objects.training import JobRecord, LeftOut, LeftOutExample
from schemas.version import VERSION
from tenancy.bootstrap import Tenancy, open_tenancy, signer
from tenancy.errors import KeyDestroyed, LeaseHeld, LeaseLost, Refused, TenantFenced, Transient
from tenancy.evidence.signer import Signer
from tenancy.lifecycle.terms import tenant_terms
from tenancy.platform.logs import SCOPE, error_location, safe_message
from tenancy.platform.settings import loaded_or_exit
from tenancy.platform.tracing import continued
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.standard import standard_gate
from tenancy.service.telemetry import configure_logging, configure_telemetry, span
from tenancy.state.leases import Lease, Leases
from tenancy.state.registry import with_events
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.training")

OVER = 0
"""Exit status: the attempt is over, whatever came of it, or was given back."""
FAILED = 1
"""Exit status: it could not even be ended; the log says why."""
FENCED = 3
"""Exit status: the tenant is purged or being purged, or its key is missing."""
NO_LEASE = 75
"""Exit status: another worker has this run or another one of the tenant, or the lease could not be kept."""


class Worker:
    """Does one attempt."""

    def __init__(
        self,
        tenancy: Tenancy,
        store: TenantStore,
        signing: Signer,
        trainer: Trainer,
        gate: GateSource,
        leases: Leases,
        work_dir: Path,
        deadline_seconds: float = HANDLING.deadline_seconds,
    ) -> None:
        self.tenancy = tenancy
        self.store = store
        self.signing = signing
        self.trainer = trainer
        self.gate = gate
        self.leases = leases
        self.work_dir = work_dir
        self.deadline_seconds = deadline_seconds
        self.publication = Publication(tenancy, store)
        self.stop = threading.Event()
        self.is_interrupted = False

    def interrupt(self) -> None:
        """End at the next step and give the attempt back; once the adapter is decided, go on to the end. A step in the
        middle cannot be left, so whoever cannot wait for it kills, and that costs an attempt.
        """
        logger.info("shutdown requested")
        self.is_interrupted = True
        self.stop.set()

    async def attempt(self, run_id: str) -> None:
        """Raises :class:`LeaseHeld`, :class:`LeaseLost` and :class:`TenantFenced`; ends the attempt otherwise."""
        if self.is_interrupted:
            return
        job, _ = await self.store.get_record(object_keys.job(run_id), JobRecord)
        with continued(job.traceparent), span("train"):
            await self._attempt(job)

    async def _attempt(self, job: JobRecord) -> None:
        run_id = job.run_id
        try:
            async with asyncio.timeout(self.deadline_seconds):  # its first record is not under the lease yet
                lease = await self.leases.acquire(run_id, self._emit_started(run_id))
        except TimeoutError:
            raise LeaseLost(run_id) from None
        fence = lease.record.fence
        state = (await self.tenancy.states.read(self.store.tenant)).state
        try:
            with scratch_folder(self.work_dir, f"{run_id}-{fence}") as scratch:
                await self._run(job, lease, state, scratch)
        except LeaseLost as lost:
            why = lost.__cause__ or lost
            reason = _reason(why)
            details = {"run_id": run_id, "fence": fence, "reason": reason, "error": safe_message(why)}
            logger.warning("lease lost", extra=details)
            with suppress(TimeoutError):  # the runner finds what is left
                async with asyncio.timeout(self.deadline_seconds):
                    await self.publication.abandon(run_id, fence, reason)
            raise
        try:
            async with asyncio.timeout(self.deadline_seconds):
                await self.publication.promote(run_id, self.work_dir)
        except TimeoutError:
            logger.warning("publication left to the runner", extra={"run_id": run_id, "fence": fence})

    async def _run(self, job: JobRecord, lease: Lease, state: TenantState, scratch: Path) -> None:
        """Train and publish, or say in the run's state why not. Raises :class:`LeaseLost`."""
        run_id, fence = job.run_id, lease.record.fence
        try:
            async with self._lease_renewed(lease):
                await self._train_and_publish(job, state, fence, scratch)
        except LeaseLost:
            raise
        except (TrainingSetVoid, TrainingStopped):
            await self.publication.give_back(run_id, fence)
        except Exception as error:
            reason = _reason(error)
            details = {"run_id": run_id, "fence": fence, "reason": reason}
            if isinstance(error, Refused | AdapterRefused) and reason not in REFUSED_US:
                # As it would be in every other attempt.
                await self.publication.reject(run_id, fence, reason)
                logger.warning("run rejected", extra={**details, "error": safe_message(error)})
            else:
                logger.error("attempt failed", extra={**details, "error": error_location(error)})
                await self.publication.fail(run_id, fence, reason)

    def _emit_started(self, run_id: str) -> Callable[[TenantState, int], TenantState]:
        def change(state: TenantState, fence: int) -> TenantState:
            return with_events(state, self.tenancy.outbox.entry(TrainingStarted(run_id=run_id, fence=fence)))

        return change

    @asynccontextmanager
    async def _lease_renewed(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lease until the work is done. A lost lease stops the training at its next step, and whatever goes
        on when the lease ends is cancelled then, also where the renewal itself hangs.

        Raises :class:`LeaseLost`, from what the renewal raised where that is why.
        """
        renewal: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout_at(self._end(lease)) as end:
                renewal = asyncio.create_task(self._renewed(lease, end))
                renewal.add_done_callback(lambda _: self.stop.set())
                try:
                    yield
                finally:
                    renewal.cancel()
                    await asyncio.gather(renewal, return_exceptions=True)
        except TrainingStopped:
            if self.is_interrupted:
                raise
            raise LeaseLost(lease.record.run_id) from _raised_by(renewal)
        except TimeoutError:
            if end.expired():
                raise LeaseLost(lease.record.run_id) from _raised_by(renewal)
            raise

    async def _renewed(self, lease: Lease, end: asyncio.Timeout) -> None:
        """Renew it for ever, and put off its ``end``. Raises what the renewal is refused by."""
        run_id, fence = lease.record.run_id, lease.record.fence
        while True:
            await asyncio.sleep(self.leases.seconds / 3)
            try:
                lease = await self.leases.renew(lease)
            except Transient as error:  # costs nothing while the lease lasts
                details = {"run_id": run_id, "fence": fence, "reason": safe_message(error)}
                logger.warning("lease renewal failed, will be retried", extra=details)
                continue
            end.reschedule(self._end(lease))

    def _end(self, lease: Lease) -> float:
        """When the lease ends, by the clock of the event loop."""
        left = lease.record.expires_at - self.tenancy.clock()
        return asyncio.get_running_loop().time() + left.total_seconds()

    async def _train_and_publish(self, job: JobRecord, state: TenantState, fence: int, scratch: Path) -> None:
        frozen_after = state.curation.eligibility_version
        self._raise_if_stopping()
        found = await candidates(self.store, state.policy, self.tenancy.clock())
        self._raise_if_stopping()
        terms = await tenant_terms(self.store)
        said = await asyncio.to_thread(judged, self.gate, found.examples, terms, self.stop.is_set)
        self._raise_if_stopping()
        await send_back(self.tenancy, self.store.tenant, job, fence, found.entries, said)
        if said.hits and state.policy.on_gate_hit == "fail":
            await self._noted(job, fence, found.refused(said.codes))
            why = f"refused: the redaction gate finds identifiers in {len(said.hits)} approved examples"
            raise Refused(IDENTIFIERS_FOUND, f"{why}, which are back in review; the tenant's policy is to fail then")
        base = await asyncio.to_thread(self.trainer.base_model)
        self._raise_if_stopping()
        left_out = await self._left_out(job, fence, found, said, base)
        self._raise_if_stopping()
        frozen = await freeze(self.store, state.policy, found, left_out, said.clean)
        self._raise_if_stopping()
        record = frozen_record(job, fence, state.policy_version, frozen, base.digest, self.tenancy.clock())
        await self.tenancy.audit.append(self.store.tenant, record)
        output = scratch / "adapter"
        started_at = self.tenancy.clock()
        metrics: list[StepMetric] = []
        result = await self._trained(job, frozen, base, output, metrics)
        manifest = self._manifest(job, fence, state.policy_version, frozen, base, result, metrics, started_at)
        signed = await self.signing.signed(
            statement(
                TRAINING_PREDICATE,
                {
                    object_keys.ADAPTER_WEIGHTS: manifest.weights_sha256,
                    object_keys.ADAPTER_CONFIG: file_sha256(output / object_keys.ADAPTER_CONFIG),
                },
                manifest,
            )
        )
        (output / object_keys.ADAPTER_MANIFEST).write_text(json.dumps(signed))
        for file in object_keys.ADAPTER_FILES:
            self._raise_if_stopping()  # so that what is written without a lease is one file at most
            await self.store.put_file(object_keys.staging(job.run_id, fence, file), output / file)
        await self.publication.publish(manifest, frozen_after)

    async def _left_out(
        self, job: JobRecord, fence: int, found: Candidates, said: Judged, base: BaseModel
    ) -> tuple[LeftOutExample, ...]:
        """What the gate or this model and these settings cannot take."""
        texts = found.without(said.codes).examples
        codes = await asyncio.to_thread(self.trainer.refused, texts, base, job.hyperparameters)
        return await self._noted(job, fence, found.refused({**said.codes, **codes}))

    async def _noted(
        self, job: JobRecord, fence: int, left_out: tuple[LeftOutExample, ...]
    ) -> tuple[LeftOutExample, ...]:
        """The same, once it is noted for whoever looks at the run, however that ends."""
        if left_out:
            self._raise_if_stopping()
            codes = Counter(example.code for example in left_out)
            details = {"run_id": job.run_id, "fence": fence, "codes": dict(sorted(codes.items()))}
            logger.warning("examples left out", extra=details)
            await self.store.put_if_absent(object_keys.left_out(job.run_id, fence), LeftOut(examples=left_out))
        return left_out

    def _raise_if_stopping(self) -> None:
        if self.stop.is_set():
            raise TrainingStopped

    async def _trained(
        self, job: JobRecord, frozen: FrozenSet, base: BaseModel, output: Path, metrics: list[StepMetric]
    ) -> TrainingResult:
        training = asyncio.create_task(asyncio.to_thread(self._train, job, frozen, base, output, metrics))
        try:
            return await asyncio.shield(training)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and it writes to the scratch folder: that goes once the thread is over.
            self.stop.set()
            await asyncio.gather(training, return_exceptions=True)
            raise

    def _train(
        self, job: JobRecord, frozen: FrozenSet, base: BaseModel, output: Path, metrics: list[StepMetric]
    ) -> TrainingResult:
        def progress(step: StepProgress) -> None:
            metrics.append(
                StepMetric(step=step.step, loss=step.loss, learning_rate=step.learning_rate, tokens=step.tokens)
            )
            logger.info("training step", extra={"run_id": job.run_id, "step": step.step, "of": step.total_steps})

        settings, should_stop = job.hyperparameters, self.stop.is_set
        return self.trainer.train(frozen.examples, base, settings, job.run_id, output, progress, should_stop)

    def _manifest(
        self,
        job: JobRecord,
        fence: int,
        policy_version: int,
        frozen: FrozenSet,
        base: BaseModel,
        result: TrainingResult,
        metrics: list[StepMetric],
        started_at: datetime,
    ) -> TrainingManifest:
        return TrainingManifest(
            tenant=self.store.tenant,
            adapter_digest=adapter_digest(
                tenant=self.store.tenant,
                base_model_digest=base.digest,
                config_sha256=result.config_sha256,
                weights_sha256=result.weights_sha256,
            ),
            run_id=job.run_id,
            fence=fence,
            base_model=self.trainer.model_name,
            base_model_digest=base.digest,
            config_sha256=result.config_sha256,
            weights_sha256=result.weights_sha256,
            size_bytes=(result.output_dir / object_keys.ADAPTER_WEIGHTS).stat().st_size,
            training_set=frozen.training_set,
            trained_example_ids=result.trained_ids,
            heldout_example_ids=result.heldout_ids,
            left_out=frozen.left_out,
            ineligible=frozen.ineligible,
            hyperparameters=job.hyperparameters,
            policy_version=policy_version,
            precision=result.processor.precision,
            library_versions=result.library_versions,
            code_version=VERSION,
            processor=result.processor.description,
            started_at=started_at,
            finished_at=self.tenancy.clock(),
            train_seconds=result.seconds,
            trained_tokens=result.tokens,
            heldout_loss_before=result.heldout_loss_before,
            heldout_loss_after=result.heldout_loss_after,
            metrics=tuple(metrics),
        )


def _raised_by(task: asyncio.Task[None] | None) -> BaseException | None:
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def _reason(error: BaseException) -> str:
    """The code of what was refused, or one from the error's type: its text could quote what it failed on."""
    if isinstance(error, Refused):
        return error.code
    words = re.sub(r"([A-Z])", r"-\1", type(error).__name__).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:64].rstrip("-") or "error"


async def work(settings: TrainingSettings, tenant: TenantId, run_id: str, holder: str) -> int:
    """One attempt; the exit status. What stops it unforeseen is logged, and the runner finds what is left.

    Before SIGTERM is handled here it ends the process, which then has taken nothing yet.
    """
    try:
        # Before the lease, which is short, and before other libraries are read: its models take seconds.
        gate = await asyncio.to_thread(standard_gate)
        async with open_tenancy(settings, "training") as tenancy:
            store = await tenancy.store(tenant)
            trainer = LoraTrainer(settings.base_model, settings.model_name(), settings.work_dir / "models")
            leases = Leases(store, tenancy.outbox, holder, tenancy.clock, settings.lease_seconds)
            worker = Worker(
                tenancy,
                store,
                signer(settings, Purpose.MANIFEST),
                trainer,
                lambda: gate,
                leases,
                settings.work_dir,
                settings.handler_deadline_seconds,
            )
            for asked_to_end in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(asked_to_end, worker.interrupt)
            await worker.attempt(run_id)
    except (LeaseHeld, LeaseLost):
        return NO_LEASE
    except (TenantFenced, KeyDestroyed):
        return FENCED
    except Exception as error:
        logger.error("worker failed", extra={"run_id": run_id, "error": safe_message(error)})
        return FAILED
    return OVER


def main() -> None:
    parser = argparse.ArgumentParser(description="one attempt at one training run")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--holder", default=socket.gethostname())
    arguments = parser.parse_args()
    settings = loaded_or_exit(TrainingSettings)
    configure_logging("training-worker")
    telemetry = configure_telemetry("training-worker", settings.otlp_endpoint)
    import_tensor_libraries()
    try:
        status = asyncio.run(work(settings, TenantId(arguments.tenant), arguments.run, arguments.holder))
    finally:
        telemetry.flush()
    sys.exit(status)


if __name__ == "__main__":
    main()
