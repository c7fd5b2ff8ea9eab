"""Fixtures and markers for all tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A run says the same of the same code, on a busy machine too: no example has a deadline, and none is made too slowly.
# To look for what it has not thought of: --hypothesis-profile=explore.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", UNTIMED, derandomize=True, database=None)
settings.register_profile("explore", UNTIMED, derandomize=False, print_blob=True)
settings.load_profile("same")

ALONE = ("engine", "kafka")
"""Markers of tests that run one after another. The longest come first."""

pytest_plugins = ["tests.fixtures.services", "tests.fixtures.platform"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a test that is skipped for what is absent fails")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests (``--dist loadgroup``). What has the engine runs in one of them, one after another:
    two would take each other's processors and shared memory. So does what has Kafka, which is started once; everything
    else is shared out by files, once those two are on their way.
    """
    items.sort(key=lambda item: [_group(item) != name for name in ALONE])
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    return next((name for name in ALONE if item.get_closest_marker(name)), item.nodeid.partition("::")[0])


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
