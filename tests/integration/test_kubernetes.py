"""The chart, and the launcher of workers, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.worker_jobs import WorkerJobsContract
from tests.fixtures.platform import WAIT_SECONDS
from tests.kubernetes.chart import FULL, NAMESPACE, REQUIRED, Chart, Manifest, of_kind, pods, worker_job
from tests.kubernetes.control_plane import ControlPlane, control_plane

TRAINING, ALONE = "sanolith-training", "alone"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
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


def _conditions(job: Manifest) -> set[str]:
    return {one["type"] for one in job["status"].get("conditions", ()) if one["status"] == "True"}
