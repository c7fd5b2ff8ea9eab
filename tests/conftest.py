"""Fixtures and markers for all tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import settings

# A run says the same of the same code. To look for what it has not thought of: --hypothesis-profile=explore.
# No deadline: how long an example takes depends on the machine.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("same")

pytest_plugins = ["tests.fixtures.services", "tests.fixtures.platform"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a test that is skipped for what is absent fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``--fail-on-skip`` nothing passes by not being run."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--fail-on-skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be here: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kafka: uses Apache Kafka (needs java and mvn)")
    config.addinivalue_line("markers", "engine: starts the vLLM engine (half a minute, 2 GiB)")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
