"""Fixtures and markers for all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import tests.fixtures.examples  # noqa: F401 - registers the profiles
from tenancy.platform.collecting import collect_seldom
from tests.fixtures.groups import IN_GROUP

# A tenth of what a run takes, or all that the tests have made is walked whenever some of it has grown old.
collect_seldom()

# The same examples in every run. To look for what it has not thought of: `make explore`.
settings.load_profile("same")

# typer builds all commands anew for each call of one, which takes longer than most calls.
typer.testing._get_command = cache(typer.testing._get_command)  # type: ignore[attr-defined]

ROOT = Path(__file__).parents[1]
CONSUMERS, LOOP, BROKERS, ENGINES = GROUPS = ("consumers", "loop", "brokers", "engines")
"""Files of a group run one after another. The first three begin side by side."""
WITH_THE_LOOP = (
    "tests/e2e/test_loop.py",
    "tests/integration/test_supervised_engine.py",
    "tests/e2e/test_server_kill.py",
    "tests/e2e/test_canary.py",
)
"""In this order. The demo shares nothing. The canaries' replica, which is killed, is looked at with all that is in
shared memory, and a killed engine's adapters lie there for a while.
"""
STARTED = {
    "mark.engine": ENGINES,
    "platform: Platform": CONSUMERS,
    "mark.kafka": BROKERS,
    "tests.unit.tiny_training": "tensors",
}
"""The group of other files, by the first of these that it says."""
UNIT = "tests/unit/"
LONG = (
    "tests/integration/test_formulary_answers.py",
    "tests/invariants/test_crash_points.py",
    "tests/invariants/test_withdrawals.py",
    "tests/invariants/test_fenced.py",
    "tests/invariants/test_audit_interleavings.py",
    "tests/invariants/test_every_order.py",
    "tests/invariants/test_deletion_sla.py",
)
"""Of the other files those that take longest, by test-durations.txt: begun last, they would be waited for."""
LONG_SECONDS = 1800
"""They may take, on what others leave of the processors."""
LAST_GROUP = pytest.StashKey[str]()
"""Of the test before, in this process."""
TENSORS = {"torch", "transformers", "peft", "vllm"}
NICE = 5
"""Of a process, from the first of the other files on: those wait for nobody's lease or session to end in time."""

pytest_plugins = [
    "tests.fixtures.durations",
    "tests.fixtures.services",
    "tests.fixtures.base_models",
    "tests.fixtures.platform",
    "tests.fixtures.postgres",
    "tests.fixtures.server_kill",
    "tests.fixtures.walled",
    "tests.kubernetes.fixtures",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a test that is skipped for what is absent fails")
    parser.addoption("--attack", choices=("short", "full"), default="short", help="how much of tests/attack is run")
    parser.addoption("--attack-seed", default="1", help="what the attacks are drawn from: a failure names it")
    parser.addoption("--screenshots", help="the folder that the review page's test puts its screenshots into")
    parser.addoption("--attack-request", help="the one request of the fuzzing that is sent, by its number")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if group_of(item.nodeid) in LONG:
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))
    items.sort(
        key=lambda item: [
            *(group_of(item.nodeid) != name for name in (*GROUPS, *LONG)),
            *(not item.nodeid.startswith(name) for name in WITH_THE_LOOP),
            item.nodeid.startswith(UNIT),
        ]
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Each process collects all tests, and a copy of one (tests/world/copies.py) takes as long as it is large."""
    if imported := sorted(TENSORS & sys.modules.keys()):
        raise pytest.UsageError(f"a test module imports {', '.join(imported)} at its top: import it where it is used")
    gc.collect()
    gc.freeze()  # what was collected lives as long as the process: no collection has to walk it again


class InGroups(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Three processes share the tests. Files that share what they start are a group, which one process takes: they
    start it once, and wait most of the time, for leases and sessions to end, beside others that compute. What is long
    and starts nothing comes next. Short files are left, which whoever is free takes one by one, so that all end at
    about the same time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InGroups:
    return InGroups(config, log)


def group_of(nodeid: str) -> str:
    """The test's file, or the group of those that start the same."""
    return _group_of_file(nodeid.partition("::")[0])


@cache
def _group_of_file(file: str) -> str:
    if file in WITH_THE_LOOP:
        return LOOP
    text = (ROOT / file).read_text()
    return next((group for marker, group in STARTED.items() if marker in text), file)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    group, before = group_of(item.nodeid), item.config.stash.get(LAST_GROUP, "")
    item.config.stash[LAST_GROUP] = group
    if {before, group} != {CONSUMERS, LOOP} and before != group:  # these two share the consumers
        item.config.stash.setdefault(IN_GROUP, ExitStack()).close()
    if hasattr(item.config, "workerinput") and group not in GROUPS:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


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
    config.addinivalue_line("markers", "spread: tries some of all places; each of them in `make explore`")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
