"""The chart on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.chart import FULL, NAMESPACE, REQUIRED, Chart, Manifest, of_kind, pods, worker_job
from tests.kubernetes.control_plane import ControlPlane, control_plane

TRAINING = "sanolith-training"
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
    with control_plane(kubernetes_program, home, {TRAINING: NAMESPACE}) as running:
        namespace = {"metadata": {"name": NAMESPACE, "labels": RESTRICTED}}
        running.ask("POST", "/api/v1/namespaces", namespace)
        for kind in ("ServiceAccount", "Role", "RoleBinding"):
            for manifest in of_kind(manifests, kind).values():
                running.ask("POST", COLLECTIONS[kind].format(NAMESPACE), manifest, fieldValidation="Strict")
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
