"""Workers as Kubernetes Jobs, on Jobs in memory. On the real API server: tests/integration/test_kubernetes.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from consumers.training.launching.kubernetes_jobs import read_job_template
from tenancy.errors import Refused
from tests.contract.worker_jobs import RUN, TEMPLATE, TENANT, WorkerJobsContract, launcher
from tests.kubernetes.fake_api import FakeApi, fake_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with fake_api(tmp_path) as served:
        yield served


class TestWorkerJobsInMemory(WorkerJobsContract):
    pass


async def test_a_token_that_was_renewed_beside_the_process_is_used(api: FakeApi) -> None:
    held = launcher(api)
    assert (await held.look()).has_capacity()
    api.token = "token-2"
    assert not (await held.look()).has_capacity()
    (api.account / "token").write_text(api.token)
    assert (await held.look()).has_capacity()


async def test_while_the_cluster_is_away_nothing_is_started_and_one_warning_says_so(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    held = launcher(api)
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
        held = launcher(gone)
    assert not (await held.look()).has_capacity()
    (tmp_path / "token").unlink()
    assert not (await held.look()).has_capacity()


async def test_a_job_that_is_refused_is_logged_with_its_fields_and_not_with_its_arguments(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    workers = await launcher(api).look()
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
