"""The tests' own Kubernetes, and the chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.settings import LocalSettings
from tests.fixtures.wheels import ProgramFetchFailed
from tests.kubernetes.chart import Chart
from tests.kubernetes.program import control_plane_program


@pytest.fixture(scope="session")
def kubernetes_program() -> Path:
    """Skips only where it cannot be built."""
    try:
        return control_plane_program(LocalSettings().cache_dir)
    except ProgramFetchFailed as lacking:
        pytest.skip(str(lacking))


@pytest.fixture(scope="session")
def chart(kubernetes_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(kubernetes_program, tmp_path_factory.mktemp("chart"))
