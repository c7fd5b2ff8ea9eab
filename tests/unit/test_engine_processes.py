"""The processes of an engine are ended for certain, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from inference.engine.processes import end, left_of, of_engine, running

BOUND_SECONDS = 30.0
_NESTED = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"


@contextmanager
def core_with_a_worker() -> Iterator[tuple[subprocess.Popen[str], int]]:
    core = subprocess.Popen([sys.executable, "-c", _NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert core.stdout is not None
    worker = int(core.stdout.readline())
    try:
        yield core, worker
    finally:
        end(running({core.pid, worker}))
        core.wait(BOUND_SECONDS)
        for pipe in (core.stdin, core.stdout):
            if pipe is not None:
                pipe.close()


def test_a_worker_that_outlives_its_core_is_ended_and_other_children_are_not() -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        with core_with_a_worker() as (core, worker):
            manager = SimpleNamespace(processes=[core, SimpleNamespace(pid=None)])
            llm = SimpleNamespace(engine_core=SimpleNamespace(resources=SimpleNamespace(engine_manager=manager)))
            noted = of_engine(llm)
            assert {process.pid for process in noted} == {core.pid, worker}
            core.kill()
            core.wait(BOUND_SECONDS)
            assert {process.pid for process in left_of(noted)} == {worker}
            assert end(noted, BOUND_SECONDS) == set()
            assert end(noted) == set(), "what is gone is no error"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait(BOUND_SECONDS)


def test_a_process_that_has_ended_and_was_not_waited_for_does_not_run() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert running({ended.pid}) == set()
    ended.wait(BOUND_SECONDS)
