"""Children are found by handle, end when told to, and do not outlive a parent that they are tied to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.local.errors import NotReady, ProcessExited
from deploy.local.identity import ProcessIdentity, members
from deploy.local.ports import accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start, start_ready
from deploy.local.services import PROJECT_ROOT

BOUND_SECONDS = 30
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def command(tmp_path: Path, argv: list[str], **env: str) -> Command:
    return Command("child", argv, tmp_path / "child.log", {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **env})


def log_has(child: ChildProcess, text: str) -> bool:
    return text in child.command.log.read_text()


def test_stop_ends_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    child = start(command(tmp_path, [sys.executable, "-c", DEAF]), tie_to_parent=True)
    child.wait_ready(lambda: log_has(child, "deaf"), BOUND_SECONDS)
    child.stop(timeout_s=0.2)
    assert not child.identity.is_alive()


def test_kill_ends_what_the_child_left_in_its_group_too(tmp_path: Path) -> None:
    script = f"import subprocess, sys, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(600)"
    child = start(command(tmp_path, [sys.executable, "-c", script]), tie_to_parent=True)
    child.wait_ready(lambda: log_has(child, "\n"), BOUND_SECONDS)
    grandchild = ProcessIdentity.of(int(child.command.log.read_text()))
    assert grandchild is not None
    child.kill()
    assert grandchild.wait_gone(BOUND_SECONDS)


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
    child = ProcessIdentity.of(int(parent.command.log.read_text()))
    assert child is not None
    parent.kill()
    if tied:
        assert child.wait_gone(BOUND_SECONDS)
    else:
        assert not child.wait_gone(0.5)
        assert child.signal(signal.SIGKILL)
        assert child.wait_gone(BOUND_SECONDS)


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
    assert not started[0].identity.wait_gone(0.5)
    started[0].kill()


def test_a_pid_with_another_start_time_is_never_signalled() -> None:
    bystander = subprocess.Popen(SLEEP)
    try:
        now = ProcessIdentity.of(bystander.pid)
        assert now is not None
        recycled = ProcessIdentity(now.pid, now.start_time - 1)
        assert not recycled.signal(signal.SIGKILL)
        assert not recycled.is_alive()
        assert now.is_alive()
    finally:
        bystander.kill()
        bystander.wait()


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
