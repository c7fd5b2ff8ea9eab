"""A service that is started as a copy is as one that is started by ``python -m``, and dies with the tests' process."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import psutil

from deploy.local.processes import ChildProcess, Command, start
from deploy.local.services import PROJECT_ROOT
from tests.fixtures import forked
from tests.integration.test_processes import is_gone

BOUND_SECONDS = 60
TELLS = """
import json, os, sys, tempfile
print(json.dumps([__name__, sys.argv, dict(os.environ), os.getcwd(), sys.path[0], os.getsid(0), tempfile.gettempdir()]))
sys.exit(3)
"""
SLEEPS = "import time; print('runs', flush=True); time.sleep(600)"
PARENT = """
import os, sys, time
from pathlib import Path
from deploy.local.processes import Command
from tests.fixtures import forked
argv = [sys.executable, "-m", "sleeps"]
if __name__ == "__main__":
    child = forked.start(Command("sleeps", argv, Path("sleeps.log"), dict(os.environ)))
    print(child.pid, flush=True)
    time.sleep(600)
"""


def command(folder: Path, text: str, *arguments: str) -> Command:
    """Runs the text as the module ``told`` in that folder."""
    (folder / "told.py").write_text(text)
    environment = {"PYTHONPATH": str(PROJECT_ROOT), "PATH": os.environ["PATH"], "TMPDIR": str(folder), "OWN": "own"}
    return Command("told", [sys.executable, "-m", "told", *arguments], folder / "told.log", environment, cwd=folder)


def test_a_copy_has_what_its_command_says_as_a_process_that_is_started_and_ends_with_its_own_status(
    tmp_path: Path,
) -> None:
    told = []
    for begin in (forked.start, lambda asked: start(asked, tie_to_parent=True)):
        asked = command(tmp_path, TELLS, "one", "two")
        child = begin(asked)
        assert child.wait_exit(BOUND_SECONDS) == 3
        name, argv, environment, *rest, session, temporary = json.loads(asked.log.read_text())
        asked.log.unlink()
        assert session == child.pid
        environment.pop("LC_CTYPE", None)  # an interpreter that starts adds it
        told.append((name, argv, environment, *rest, temporary))
    assert told[0] == told[1]


def test_a_copy_outlives_the_thread_that_asked_for_it_and_is_killed_by_its_pid(tmp_path: Path) -> None:
    started: list[ChildProcess] = []
    thread = threading.Thread(target=lambda: started.append(forked.start(command(tmp_path, SLEEPS))))
    thread.start()
    thread.join()
    (child,) = started
    child.wait_ready(lambda: "runs" in child.command.log.read_text(), BOUND_SECONDS)
    time.sleep(0.5)
    assert child.is_running()
    child.kill()
    assert not child.is_running()


def test_a_copy_dies_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    parent = start(command(tmp_path, PARENT), tie_to_parent=True)
    parent.wait_ready(lambda: "\n" in parent.command.log.read_text(), BOUND_SECONDS)
    child = psutil.Process(int(parent.command.log.read_text()))
    parent.kill()
    assert is_gone(child, BOUND_SECONDS)
