"""Fixtures and markers for all tests."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# A run says the same of the same code, on a busy machine too: no example has a deadline, and none is made too slowly.
# To look for what it has not thought of: --hypothesis-profile=explore.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", UNTIMED, derandomize=True, database=None)
settings.register_profile("explore", UNTIMED, derandomize=False, print_blob=True)
settings.load_profile("same")

ROOT = Path(__file__).parents[1]
ALONE = ("engine", "kafka")
"""Markers of files that run one after another. The longest come first."""

pytest_plugins = [
    "tests.fixtures.durations",
    "tests.fixtures.services",
    "tests.fixtures.platform",
    "tests.fixtures.walled",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a test that is skipped for what is absent fails")
    parser.addoption("--attack", choices=("short", "full"), default="short", help="how much of tests/attack is run")
    parser.addoption("--attack-seed", default="1", help="what the attacks are drawn from: a failure names it")
    parser.addoption("--attack-request", help="the one request of the fuzzing that is sent, by its number")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [group_of(item.nodeid) != name for name in ALONE])


class InGroups(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Two processes share the tests. Files that start the engine run in one of them, one after another: two engines
    would take each other's processors and shared memory. So do files that start Kafka, which is then started once. All
    others are shared out one by one, once those two groups are on their way.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InGroups:
    return InGroups(config, log)


def group_of(nodeid: str) -> str:
    """The marker of the test's file or, where it has none of these, the file."""
    return _group_of_file(nodeid.partition("::")[0])


@cache
def _group_of_file(file: str) -> str:
    text = (ROOT / file).read_text()
    return next((name for name in ALONE if f"mark.{name}" in text), file)


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
    config.addinivalue_line("markers", "attack_long: only in the full form of the attack suite (`make attack`)")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
