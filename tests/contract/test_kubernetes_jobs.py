"""Workers as Kubernetes Jobs: what the launcher promises, on Jobs in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers.training.launching.cluster import Cluster
from consumers.training.launching.kubernetes_jobs import KubernetesLauncher, read_job_template
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.kubernetes.fake_api import FakeApi, fake_api

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


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with fake_api(tmp_path) as served:
        yield served


def launcher(api: FakeApi, account: Path, max_concurrent: int = 2) -> KubernetesLauncher:
    """As a process has it that starts now."""
    return KubernetesLauncher(Cluster(api.url, account), TEMPLATE, max_concurrent)


async def started(api: FakeApi, account: Path, attempt: int = 1) -> str:
    """Have a new process start the run's attempt; the name of its Job."""
    workers = await launcher(api, account).look()
    before = set(api.jobs)
    await workers.start(TENANT, RUN, attempt)
    (name,) = set(api.jobs) - before or {next(reversed(api.jobs))}
    return name


async def test_a_job_is_found_by_every_launcher_until_it_is_over(api: FakeApi, tmp_path: Path) -> None:
    first = await launcher(api, tmp_path, 1).look()
    assert first.has_capacity()
    await first.start(TENANT, RUN, 1)
    for workers in (first, await launcher(api, tmp_path, 1).look()):
        assert workers.is_running(TENANT, RUN)
        assert not workers.is_running(OTHER, RUN)
        assert not workers.has_capacity()
    (name,) = api.jobs
    api.end(name, "Failed")
    after = await launcher(api, tmp_path, 1).look()
    assert after.has_capacity()
    assert not after.is_running(TENANT, RUN)


async def test_launchers_that_start_the_same_attempt_make_one_job(api: FakeApi, tmp_path: Path) -> None:
    looks = [await launcher(api, tmp_path).look() for _ in range(2)]
    for workers in looks:
        await workers.start(TENANT, RUN, 1)
        assert workers.is_running(TENANT, RUN)
    (job,) = api.jobs.values()
    assert job["metadata"]["uid"] == "uid-0"


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
async def test_an_attempt_that_was_given_back_is_made_again(api: FakeApi, tmp_path: Path, condition: str) -> None:
    """It has the same number, and so the name of a Job that is over: complete, where the worker was asked to end."""
    name = await started(api, tmp_path)
    api.end(name, condition)
    assert await started(api, tmp_path) == name
    assert api.jobs[name]["metadata"]["uid"] == "uid-1"


async def test_the_next_attempt_is_another_job_and_the_one_before_stays_to_be_looked_at(
    api: FakeApi, tmp_path: Path
) -> None:
    first = await started(api, tmp_path)
    api.end(first, "Failed")
    second = await started(api, tmp_path, attempt=2)
    assert second != first
    assert set(api.jobs) == {first, second}


async def test_a_job_makes_one_pod_and_keeps_what_the_operator_gives(api: FakeApi, tmp_path: Path) -> None:
    job = api.jobs[await started(api, tmp_path, attempt=3)]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"], pod["restartPolicy"]) == (0, "Failed", "Never")
    assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (600, 3600)
    sidecar, worker = pod["containers"]
    assert "args" not in sidecar
    assert worker["args"] == ["--tenant", TENANT, "--run", RUN, "--holder", "attempt-3"]
    assert worker["image"] == "registry.example/training:1"
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "training-worker"
    assert "name" not in TEMPLATE["metadata"], "the next Job is made of it too"


async def test_neither_tenant_nor_run_is_in_a_name_or_label(api: FakeApi, tmp_path: Path) -> None:
    job = api.jobs[await started(api, tmp_path)]
    seen = json.dumps([job["metadata"], job["spec"]["template"]["metadata"]])
    assert TENANT not in seen
    assert RUN not in seen


async def test_a_token_that_was_renewed_beside_the_process_is_used(api: FakeApi, tmp_path: Path) -> None:
    held = launcher(api, tmp_path)
    assert (await held.look()).has_capacity()
    api.token = "token-2"
    assert not (await held.look()).has_capacity()
    (tmp_path / "token").write_text(api.token)
    assert (await held.look()).has_capacity()


async def test_while_the_cluster_is_away_nothing_is_started_and_one_warning_says_so(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = launcher(api, tmp_path)
    api.answers = (503, {"reason": "ServiceUnavailable"})
    for _ in range(3):
        workers = await held.look()
        assert not workers.has_capacity()
        assert not workers.is_running(TENANT, RUN)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert vars(warning)["reason"] == "the Kubernetes API answered GET with 503 ServiceUnavailable"
    api.answers = None
    await (await held.look()).start(TENANT, RUN, 1)
    assert len(api.jobs) == 1


async def test_nobody_at_the_address_is_an_outage_too(tmp_path: Path) -> None:
    with fake_api(tmp_path) as gone:
        held = launcher(gone, tmp_path)
    assert not (await held.look()).has_capacity()
    (tmp_path / "token").unlink()
    assert not (await held.look()).has_capacity()


async def test_a_job_that_is_refused_is_logged_with_its_fields_and_not_with_its_arguments(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers = await launcher(api, tmp_path).look()
    cause = {"field": "spec.template.spec.containers[1].image", "message": f"--tenant {TENANT}"}
    api.answers = (422, {"reason": "Invalid", "message": TENANT, "details": {"causes": [cause]}})
    await workers.start(TENANT, RUN, 1)
    assert not workers.is_running(TENANT, RUN)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    reason = "the Kubernetes API answered POST with 422 Invalid: spec.template.spec.containers[1].image"
    assert vars(warning)["reason"] == reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "- a",
        "kind: Job",
        yaml.safe_dump({**TEMPLATE, "kind": "Deployment"}),
        yaml.safe_dump({**TEMPLATE, "spec": {"template": {"spec": {"containers": [{"name": "other"}]}}}}),
    ],
)
def test_what_is_no_job_with_a_worker_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(Refused, match="SANO_WORKER_JOB_FILE is no Job"):
        read_job_template(tmp_path / "job.yaml")


def test_a_job_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(TEMPLATE))
    assert read_job_template(tmp_path / "job.yaml") == TEMPLATE
