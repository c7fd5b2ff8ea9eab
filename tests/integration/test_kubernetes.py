"""The training service and its workers on a real control plane: etcd, the API server and the controllers of Jobs.

Workers are the real ones, run as a kubelet would run their containers (tests/kubernetes/pod_runner.py), and the service
has the rights that the chart gives it, and no others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from schemas.bus import events
from schemas.objects.state import RunState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId
from tests.contract.worker_jobs import WorkerJobsContract
from tests.fixtures.history import approvals, onboarded
from tests.fixtures.platform import WAIT_SECONDS, Platform, eventually
from tests.kubernetes.chart import FULL, NAMESPACE, REQUIRED, Chart, Manifest, of_kind, pods, worker_job
from tests.kubernetes.control_plane import ControlPlane, control_plane
from tests.kubernetes.pod_runner import PodRunner, Run

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING, ALONE = "sanolith-training", "alone"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
TENANT, RUN = TenantId("kubernetes-1"), "r-1"
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)
HERE = "before:put:training-sets"
WORKING_LEASE, DYING_LEASE = "120", "8"
COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


@pytest.fixture(scope="module")
def manifests(chart: Chart) -> list[Manifest]:
    return chart.rendered(REQUIRED, FULL)


@pytest.fixture(scope="module")
def plane(
    kubernetes_program: Path, manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """With a namespace that takes no pods but restricted ones, and the accounts and rights of the chart in it."""
    home = tmp_path_factory.mktemp("control-plane")
    with control_plane(kubernetes_program, home, {TRAINING: NAMESPACE, "alone": ALONE}) as running:
        running.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
        for kind in ("ServiceAccount", "Role", "RoleBinding"):
            for manifest in of_kind(manifests, kind).values():
                running.ask("POST", COLLECTIONS[kind].format(NAMESPACE), manifest, fieldValidation="Strict")
        running.ask("POST", "/api/v1/namespaces", {"metadata": {"name": ALONE}})
        (role,), subject = of_kind(manifests, "Role").values(), {"kind": "ServiceAccount", "name": "alone"}
        (binding,) = of_kind(manifests, "RoleBinding").values()
        running.ask("POST", COLLECTIONS["Role"].format(ALONE), role)
        running.ask(
            "POST",
            COLLECTIONS["RoleBinding"].format(ALONE),
            {**binding, "subjects": [{**subject, "namespace": ALONE}]},
        )
        yield running


def test_the_api_server_takes_everything_that_the_chart_makes(plane: ControlPlane, manifests: list[Manifest]) -> None:
    """No unknown field, no value that it refuses, and no pod that Pod Security's strictest level refuses."""
    made = [manifest for manifest in manifests if manifest["kind"] not in ("ServiceAccount", "Role", "RoleBinding")]
    made += [{"kind": "Job", **worker_job(manifests)}]
    made += [{"kind": "Pod", "apiVersion": "v1", "spec": pod} for pod in pods(manifests).values()]
    for number, manifest in enumerate(made):
        manifest.setdefault("metadata", {}).setdefault("name", f"one-{number}")
        collection = COLLECTIONS[manifest["kind"]].format(NAMESPACE)
        plane.ask("POST", collection, manifest, fieldValidation="Strict", dryRun="All")


# --- Jobs


@dataclass(frozen=True)
class RealJobs:
    """Of a namespace that is the launcher's alone, with the rights that the chart gives it."""

    plane: ControlPlane

    @property
    def url(self) -> str:
        return self.plane.url

    @property
    def account(self) -> Path:
        return self.plane.account(ALONE, "alone")

    @property
    def jobs(self) -> dict[str, Manifest]:
        found = self.plane.ask("GET", COLLECTIONS["Job"].format(ALONE))["items"]
        return {job["metadata"]["name"]: job for job in found}

    def end(self, name: str, condition: str) -> None:
        """Its pod ends, as a kubelet would say, and the controller of Jobs sees that."""
        uid = self.jobs[name]["metadata"]["uid"]
        path = COLLECTIONS["Pod"].format(ALONE)
        phase = {"Complete": "Succeeded", "Failed": "Failed"}[condition]
        self._wait(lambda: self._pods(uid))
        for pod in self._pods(uid):
            self.plane.ask("PATCH", f"{path}/{pod['metadata']['name']}/status", {"status": {"phase": phase}})
        self._wait(lambda: condition in _conditions(self.jobs[name]))

    def _pods(self, uid: str) -> list[Manifest]:
        selector = f"batch.kubernetes.io/controller-uid={uid}"
        found: list[Manifest] = self.plane.ask("GET", COLLECTIONS["Pod"].format(ALONE), labelSelector=selector)["items"]
        return found

    def _wait(self, seen: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not seen():
            assert time.monotonic() < deadline, "the controllers do not move"
            time.sleep(0.05)


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[RealJobs]:
    yield RealJobs(plane)
    plane.ask("DELETE", COLLECTIONS["Job"].format(ALONE), propagationPolicy="Background")


class TestWorkerJobs(WorkerJobsContract):
    pass


# --- a run


@pytest.fixture
async def tenancy(platform: Platform) -> AsyncIterator[Tenancy]:
    async with platform.tenancy() as connected:
        yield connected


@pytest.fixture
def launching(
    platform: Platform, plane: ControlPlane, manifests: list[Manifest], tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The settings of a training service that starts Jobs. The platform's own is started again at the end."""
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(worker_job(manifests)))
    yield {
        "SANO_WORKER_JOB_FILE": str(job),
        "SANO_KUBERNETES_URL": plane.url,
        "SANO_KUBERNETES_ACCOUNT_DIR": str(plane.account(NAMESPACE, TRAINING)),
        "SANO_RETRY_BACKOFF_SECONDS": "1",
    }
    platform.restart("training")


async def test_a_run_outlives_a_drain_a_kill_and_the_service_that_started_it(
    platform: Platform, plane: ControlPlane, tenancy: Tenancy, launching: dict[str, str], tiny_base: Path
) -> None:
    """Three workers: one is drained and gives its attempt back, one is killed and loses it, one publishes."""
    lives = [
        Run(("tests.kubernetes.held", HERE), _worker(platform, tiny_base, WORKING_LEASE)),
        Run(("tests.world.crashing", HERE), _worker(platform, tiny_base, DYING_LEASE)),
        Run(("tests.kubernetes.held", HERE), _worker(platform, tiny_base, WORKING_LEASE)),
    ]
    others = Run((), _worker(platform, tiny_base, WORKING_LEASE))
    await asyncio.to_thread(platform.restart, "training", None, **launching)
    await _with_examples(tenancy)
    with (platform.home / "pods.log").open("ab") as log:
        runner = PodRunner(plane, NAMESPACE, lambda asked: lives.pop(0) if TENANT in asked else others, log)
        async with runner.running():
            command = events.TrainingRequested(run_id=RUN, trigger="operator", hyperparameters=ONE_STEP)
            await tenancy.outbox.publish(TENANT, command)

            drained = await _held(runner)
            first = await _job_of(plane, drained)
            await runner.evict(drained)
            assert await runner.processes[drained].wait() == 0
            assert (await _run(tenancy)).attempts == 0, "given back"

            killed = await _over(plane, first, "Failed")
            assert killed["metadata"]["uid"] != first["metadata"]["uid"], "the same attempt, made again"
            assert (await _run(tenancy)).attempts == 1

            held = await _held(runner)
            assert (await _run(tenancy)).attempts == 2
            await asyncio.to_thread(platform.restart, "training", None, **launching)
            await _looked(plane, 2)
            assert [pod["metadata"]["name"] for pod in await runner.pods() if not _is_over(pod)] == [held]
            last = await _job_of(plane, held)
            assert last["metadata"]["name"] != first["metadata"]["name"]
            runner.go_on(held)
            await _over(plane, last, "Complete")
    state = (await tenancy.states.read(TENANT)).state
    run = state.runs[RUN]
    assert (run.status, run.attempts, list(state.adapters)) == ("completed", 2, [run.adapter_digest])
    assert lives == []
    by_service = {one["verb"] for one in plane.audited() if one["user"]["username"].endswith(f":{TRAINING}")}
    assert by_service == {"create", "get", "list", "delete"}


def _worker(platform: Platform, base: Path, lease_seconds: str) -> dict[str, str]:
    """What the container's image, volumes and settings would give the worker."""
    own = {"SANO_BASE_MODEL": str(base), "SANO_WORK_DIR": str(platform.home / "w")}
    keys = platform._private_keys("consumers.training.app")
    return {**platform.environment, **keys, **own, "SANO_LEASE_SECONDS": lease_seconds}


async def _with_examples(tenancy: Tenancy) -> None:
    """A tenant with three examples to train on, which trains when it is told to."""
    await onboarded(tenancy, TENANT, TenantPolicy(min_new_examples=100, min_training_examples=2))
    await tenancy.outbox.publish(TENANT, events.ConsentGranted(consent_id="c-1", version=1))
    for approval in await approvals(tenancy, TENANT, 3):
        await tenancy.outbox.publish(TENANT, approval)

    async def curated() -> bool | None:
        return len((await tenancy.states.read(TENANT)).state.curation.fresh) == 3 or None

    await eventually(curated, "three examples were curated")


async def _run(tenancy: Tenancy) -> RunState:
    return (await tenancy.states.read(TENANT)).state.runs[RUN]


async def _held(runner: PodRunner) -> str:
    """The pod whose process is held, once there is one."""

    async def held() -> str | None:
        return next((name for name in runner.processes if runner.is_held(name)), None)

    return await eventually(held, "a worker holds in the middle of its work")


async def _job_of(plane: ControlPlane, pod: str) -> Manifest:
    found = await asyncio.to_thread(plane.ask, "GET", f"{COLLECTIONS['Pod'].format(NAMESPACE)}/{pod}")
    return await _job(plane, found["metadata"]["labels"]["batch.kubernetes.io/job-name"])


async def _job(plane: ControlPlane, name: str) -> Manifest:
    found: Manifest = await asyncio.to_thread(plane.ask, "GET", f"{COLLECTIONS['Job'].format(NAMESPACE)}/{name}")
    return found


async def _over(plane: ControlPlane, job: Manifest, condition: str) -> Manifest:
    """The Job of this one's name, once it is over in this way. In between there may be none."""

    async def over() -> Manifest | None:
        with suppress(httpx.HTTPStatusError):
            found = await _job(plane, job["metadata"]["name"])
            return found if condition in _conditions(found) else None
        return None

    return await eventually(over, f"a Job is {condition}")


async def _looked(plane: ControlPlane, times: int) -> None:
    """Wait until the training service has listed the Jobs so many times more."""
    before = _lists(plane)

    async def looked() -> bool | None:
        return _lists(plane) >= before + times or None

    await eventually(looked, "the training service looked at the Jobs")


def _lists(plane: ControlPlane) -> int:
    return sum(one["verb"] == "list" and TRAINING in one["user"]["username"] for one in plane.audited())


def _conditions(job: Manifest) -> set[str]:
    return {one["type"] for one in job["status"].get("conditions", ()) if one["status"] == "True"}


def _is_over(pod: Manifest) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")
