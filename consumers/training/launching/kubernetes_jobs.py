"""Starts workers as Kubernetes Jobs, one for each attempt, from a Job that the operator gives.

Nothing about Jobs is remembered from one look to the next: a launcher that was started anew, and one beside it, find
the same ones running. A Job's status is not its run's. It says only whether its pod is gone: a worker that gave its
attempt back ended well, and one that was killed after it had published ended badly. What became of the run is in the
tenant's state.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from consumers.training.launching.cluster import AlreadyThere, Cluster, ClusterUnavailable, Manifest
from consumers.training.launching.ports import worker_arguments
from tenancy.errors import Refused
from tenancy.platform.logs import SCOPE
from tenancy.platform.settings import SETTINGS_REMEDY
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.training")

RUN_LABEL = "sanolith.io/run"
"""Names tenant and run to the launcher alone, by a digest, on every Job and its pod: many people see labels."""
CONTAINER = "worker"
"""The container that is given the worker's arguments."""


@dataclass
class KubernetesLauncher:
    """Workers as Jobs. ``max_concurrent`` bounds the Jobs of the namespace, whichever service started them."""

    cluster: Cluster
    template: Manifest
    max_concurrent: int
    _is_away: bool = field(default=False, init=False)

    async def look(self) -> Jobs:
        try:
            found = await self.cluster.jobs(RUN_LABEL)
        except ClusterUnavailable as away:
            if not self._is_away:  # once for each outage
                logger.warning("no worker is started until the cluster answers", extra={"reason": str(away)})
            self._is_away = True
            return Jobs(self, 0)
        self._is_away = False
        return Jobs(
            self, self.max_concurrent, {job["metadata"]["labels"][RUN_LABEL] for job in found if not _over(job)}
        )

    async def stop(self) -> None:
        """Jobs go on: whoever runs next finds them."""

    async def started(self, job: Manifest) -> None:
        """Start the Job unless one of its name is at work. Raises :class:`ClusterUnavailable`.

        One of its name that is over had the same attempt, and gave it back or died before it took it: it makes room.
        """
        try:
            await self.cluster.create_job(job)
        except AlreadyThere:
            held = await self.cluster.job(job["metadata"]["name"])
            if held is not None and _over(held):
                await self.cluster.delete_job(held)
                with suppress(AlreadyThere):  # another launcher was faster, or the old one is still going
                    await self.cluster.create_job(job)


@dataclass
class Jobs:
    """The runs that had a Job at work at one look, and those started since."""

    launcher: KubernetesLauncher
    capacity: int
    runs: set[str] = field(default_factory=set)

    def has_capacity(self) -> bool:
        return len(self.runs) < self.capacity

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return _digest(tenant, run_id) in self.runs

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        """Where the cluster takes no Job now, the run waits for another look."""
        try:
            await self.launcher.started(job_of(self.launcher.template, tenant, run_id, attempt))
        except ClusterUnavailable as refused:
            logger.warning("worker not started", extra={"run_id": run_id, "reason": str(refused)})
        else:
            self.runs.add(_digest(tenant, run_id))


def job_of(template: Manifest, tenant: TenantId, run_id: str, attempt: int) -> Manifest:
    """The Job of one attempt. Whoever makes it gives it the same name, so that it is there once.

    It makes one pod and no other: the runner counts attempts, and makes the next one when the pod is gone.
    """
    job = copy.deepcopy(template)
    label = {RUN_LABEL: _digest(tenant, run_id)}
    meta, spec = job.setdefault("metadata", {}), job["spec"]
    meta["name"] = f"sano-worker-{_digest(tenant, run_id, str(attempt))}"
    meta["labels"] = {**(meta.get("labels") or {}), **label}
    spec |= {"backoffLimit": 0, "podReplacementPolicy": "Failed"}
    pod = spec["template"]
    pod_meta = pod.setdefault("metadata", {})
    pod_meta["labels"] = {**(pod_meta.get("labels") or {}), **label}
    pod["spec"]["restartPolicy"] = "Never"
    _worker(job)["args"] = worker_arguments(tenant, run_id, attempt)
    return job


def read_job_template(path: Path) -> Manifest:
    """Raises :class:`Refused` where the file is no Job with a container for the worker."""
    try:
        read = yaml.safe_load(path.read_text())
        if (read["apiVersion"], read["kind"]) == ("batch/v1", "Job") and _worker(read):
            template: Manifest = read
            return template
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, StopIteration):
        pass
    why = f"refused: SANO_WORKER_JOB_FILE is no Job of batch/v1 with a container {CONTAINER}"
    raise Refused("bad-worker-job", f"{why}; {SETTINGS_REMEDY}")


def _worker(job: Manifest) -> Manifest:
    containers: list[Manifest] = job["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == CONTAINER)


def _over(job: Manifest) -> bool:
    """Whether the Job's pod is gone: these conditions come only then."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
