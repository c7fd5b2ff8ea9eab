"""Children are found by handle, end when told to, and do not outlive a parent that they are tied to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deploy.local.errors import NotReady, ProcessExited
from deploy.local.ports import accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start, start_ready
from deploy.local.services import PROJECT_ROOT
from deploy.local.teardown import members

BOUND_SECONDS = 30
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def command(tmp_path: Path, argv: list[str], **env: str) -> Command:
    return Command("child", argv, tmp_path / "child.log", {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **env})


def is_gone(process: psutil.Process, within_seconds: float) -> bool:
    """Whether it ends in that time; nobody may be there to wait for it."""
    until = time.monotonic() + within_seconds
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
    return True


def log_has(child: ChildProcess, text: str) -> bool:
    return text in child.command.log.read_text()


def test_stop_ends_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    child = start(command(tmp_path, [sys.executable, "-c", DEAF]), tie_to_parent=True)
    child.wait_ready(lambda: log_has(child, "deaf"), BOUND_SECONDS)
    child.stop(timeout_s=0.2)
    assert not child.is_running()


def test_kill_ends_what_the_child_left_in_its_group_too(tmp_path: Path) -> None:
    script = f"import subprocess, sys, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(600)"
    child = start(command(tmp_path, [sys.executable, "-c", script]), tie_to_parent=True)
    child.wait_ready(lambda: log_has(child, "\n"), BOUND_SECONDS)
    grandchild = psutil.Process(int(child.command.log.read_text()))
    child.kill()
    assert is_gone(grandchild, BOUND_SECONDS)


def test_a_child_that_ends_while_it_starts_is_reported_with_its_status_and_log(tmp_path: Path) -> None:
    with pytest.raises(ProcessExited, match=r"child ended with status 3 .*child\.log"):
        start_ready(
            command(tmp_path, [sys.executable, "-c", "import sys; sys.exit(3)"]),
            lambda: False,
            BOUND_SECONDS,
            tie_to_parent=True,
        )


def test_a_child_that_is_never_ready_is_not_left_running(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        start_ready(command(tmp_path, SLEEP, SANO_TEST_MARK=str(tmp_path)), lambda: False, 0.2, tie_to_parent=True)
    assert members("SANO_TEST_MARK", str(tmp_path)) == []


PARENT = """
import sys, time
from pathlib import Path
from deploy.local.processes import Command, start
import os
child = start(Command("c", {argv!r}, Path({log!r}), dict(os.environ)), tie_to_parent={tied})
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_child_dies_with_a_killed_parent_and_a_detached_one_lives_on(tmp_path: Path, tied: bool) -> None:
    script = PARENT.format(argv=SLEEP, log=str(tmp_path / "c.log"), tied=tied)
    parent = start(command(tmp_path, [sys.executable, "-c", script]), tie_to_parent=True)
    parent.wait_ready(lambda: log_has(parent, "\n"), BOUND_SECONDS)
    child = psutil.Process(int(parent.command.log.read_text()))
    parent.kill()
    if not tied:
        assert not is_gone(child, 0.5)
        child.kill()
    assert is_gone(child, BOUND_SECONDS)


def test_a_tied_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The kernel's parent-death signal is about threads; pytest-asyncio and CLIs start children from short ones.

    The thread ends only once the child runs, since a signal asked for later would be about another thread.
    """
    started: list[ChildProcess] = []

    def begin() -> None:
        script = "import time; print('runs', flush=True); time.sleep(600)"
        started.append(start(command(tmp_path, [sys.executable, "-c", script]), tie_to_parent=True))
        started[0].wait_ready(lambda: log_has(started[0], "runs"), BOUND_SECONDS)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    with pytest.raises(NotReady):
        started[0].wait_exit(0.5)
    started[0].kill()


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(accepts_connections(port) for port in ports)


def test_a_port_that_one_process_drew_no_other_draws() -> None:
    [mine] = free_ports(1)
    drawing = (
        "from deploy.local import ports; "
        f"ports.random.sample = lambda *_, **__: [{mine}, *range(15_000, 15_200)]; print(ports.free_ports(1)[0])"
    )
    other = subprocess.run([sys.executable, "-c", drawing], cwd=PROJECT_ROOT, capture_output=True, check=True)
    assert int(other.stdout) in range(15_000, 15_200)
