"""What the launcher of workers promises, on any API of Jobs: the one in memory must be like the real one.

A test module has this suite run by a class that inherits it and a fixture ``api``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from consumers.training.launching.cluster import Cluster
from consumers.training.launching.kubernetes_jobs import KubernetesLauncher, job_of
from tenancy.tenant_id import TenantId

TENANT, OTHER = TenantId("st-elsewhere"), TenantId("st-anywhere")
RUN = "batch-17"
TEMPLATE: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"labels": {"app.kubernetes.io/component": "training-worker"}},
    "spec": {
        "ttlSecondsAfterFinished": 600,
        "activeDeadlineSeconds": 3600,
        "template": {
            "spec": {
                "containers": [
                    {"name": "sidecar", "image": "registry.example/sidecar:1"},
                    {"name": "worker", "image": "registry.example/training:1", "command": ["python"]},
                ],
            }
        },
    },
}


class JobsApi(Protocol):
    """An API server of which a service account may ask for Jobs, and which holds none at first."""

    @property
    def url(self) -> str: ...

    @property
    def account(self) -> Path: ...

    @property
    def jobs(self) -> Mapping[str, dict[str, Any]]:
        """All Jobs, by their names."""
        ...

    def end(self, name: str, condition: str) -> None:
        """Make the Job ``Complete`` or ``Failed``."""
        ...


def launcher(api: JobsApi, max_concurrent: int = 2) -> KubernetesLauncher:
    """As a process has it that starts now."""
    return KubernetesLauncher(Cluster(api.url, api.account), TEMPLATE, max_concurrent)


async def started(api: JobsApi, attempt: int = 1) -> dict[str, Any]:
    """Have a new process start the run's attempt; its Job."""
    await (await launcher(api).look()).start(TENANT, RUN, attempt)
    return api.jobs[job_of(TEMPLATE, TENANT, RUN, attempt)["metadata"]["name"]]


class WorkerJobsContract:
    """See the module."""

    async def test_a_job_is_found_by_every_launcher_until_it_is_over(self, api: JobsApi) -> None:
        first = await launcher(api, 1).look()
        assert first.has_capacity()
        await first.start(TENANT, RUN, 1)
        for workers in (first, await launcher(api, 1).look()):
            assert workers.is_running(TENANT, RUN)
            assert not workers.is_running(OTHER, RUN)
            assert not workers.has_capacity()
        (name,) = api.jobs
        api.end(name, "Failed")
        after = await launcher(api, 1).look()
        assert after.has_capacity()
        assert not after.is_running(TENANT, RUN)

    async def test_launchers_that_start_the_same_attempt_make_one_job(self, api: JobsApi) -> None:
        first, second = [await launcher(api).look() for _ in range(2)]
        await first.start(TENANT, RUN, 1)
        before = api.jobs
        await second.start(TENANT, RUN, 1)
        assert second.is_running(TENANT, RUN)
        assert [job["metadata"]["uid"] for job in api.jobs.values()] == [
            job["metadata"]["uid"] for job in before.values()
        ]

    @pytest.mark.parametrize("condition", ["Complete", "Failed"])
    async def test_an_attempt_that_was_given_back_is_made_again(self, api: JobsApi, condition: str) -> None:
        """It has the same number, and so the name of a Job that is over: complete, if it was asked to end."""
        before = (await started(api))["metadata"]
        api.end(before["name"], condition)
        again = (await started(api))["metadata"]
        assert again["name"] == before["name"]
        assert again["uid"] != before["uid"]

    async def test_the_next_attempt_is_another_job_and_the_one_before_stays_to_be_looked_at(self, api: JobsApi) -> None:
        first = (await started(api))["metadata"]["name"]
        api.end(first, "Failed")
        second = (await started(api, attempt=2))["metadata"]["name"]
        assert second != first
        assert set(api.jobs) == {first, second}

    async def test_a_job_makes_one_pod_and_keeps_what_the_operator_gives(self, api: JobsApi) -> None:
        job = await started(api, attempt=3)
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        assert (spec["backoffLimit"], spec["podReplacementPolicy"], pod["restartPolicy"]) == (0, "Failed", "Never")
        assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (600, 3600)
        sidecar, worker = pod["containers"]
        assert "args" not in sidecar
        assert worker["args"] == ["--tenant", TENANT, "--run", RUN, "--holder", "attempt-3"]
        assert worker["image"] == "registry.example/training:1"
        assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "training-worker"
        assert "name" not in TEMPLATE["metadata"], "the next Job is made of it too"

    async def test_neither_tenant_nor_run_is_in_a_name_or_label(self, api: JobsApi) -> None:
        job = await started(api)
        shown = [[meta.get("name"), meta["labels"]] for meta in (job["metadata"], job["spec"]["template"]["metadata"])]
        assert TENANT not in json.dumps(shown)
        assert RUN not in json.dumps(shown)
