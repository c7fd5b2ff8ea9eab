"""Wires the training consumer: intake, runner and reconciler in one process, workers in their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.service import serve
from consumers.runtime.share import Share
from consumers.training import handlers
from consumers.training.handlers import TrainingPorts
from consumers.training.launching.cluster import Cluster
from consumers.training.launching.kubernetes_jobs import KubernetesLauncher, read_job_template
from consumers.training.launching.subprocesses import SubprocessLauncher
from consumers.training.runner import Runner
from consumers.training.settings import TrainingSettings
from schemas.bus import events
from tenancy.bootstrap import Tenancy
from tenancy.platform.settings import loaded_or_exit
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.rounds import TICK_SECONDS

HANDLERS: Handlers[TrainingPorts] = dict([on(events.TrainingRequested, handlers.on_training_requested)])


def main() -> None:
    settings = loaded_or_exit(TrainingSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[TrainingPorts, Sequence[Periodic]]]:
        launcher = launcher_of(settings, lambda: periodic.poke())
        runner = Runner(
            tenancy,
            launcher,
            settings.work_dir,
            settings.lease_seconds,
            settings.retry_backoff_seconds,
            settings.quiesce_seconds,
            settings.handler_deadline_seconds,
            owns=share.owns,
        )
        periodic = Periodic("training runner", settings.reconcile_seconds, runner.reconcile, at_once=LOOKS)
        sweeping = Periodic("training round", TICK_SECONDS, runner.sweep)
        try:
            yield TrainingPorts(tenancy, periodic.poke), (periodic, sweeping)
        finally:
            await launcher.stop()

    serve("training", settings=settings, topics=(events.TRAINING,), handlers=HANDLERS, ports=ports)


def launcher_of(settings: TrainingSettings, on_exit: Callable[[], None]) -> SubprocessLauncher | KubernetesLauncher:
    """Jobs where the operator gives one, else child processes. Raises :class:`Refused`."""
    if settings.worker_job_file is None:
        return SubprocessLauncher(settings.max_concurrent_runs, on_exit)
    cluster = Cluster(settings.kubernetes_url, settings.kubernetes_account_dir)
    return KubernetesLauncher(cluster, read_job_template(settings.worker_job_file), settings.max_concurrent_runs)


if __name__ == "__main__":
    main()
