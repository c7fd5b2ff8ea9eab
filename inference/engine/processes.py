"""Tracks the engine's processes while they run, and kills those that outlive the engine.

vLLM ends its core process. One that hangs in a step, or a child of it, would keep its adapters and the GPU's memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05


def descendants(pid: int) -> set[int]:
    """All processes that this one started, and theirs. One whose parent has died is init's child and is not found."""
    with suppress(psutil.NoSuchProcess):
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return set()


def of_engine(llm: Any) -> set[psutil.Process]:
    """The core processes of vLLM's AsyncLLM and all that they started. Not ours: this one's other children stay."""
    cores = {core.pid for core in llm.engine_core.resources.engine_manager.processes if core.pid is not None}
    return running(cores | {pid for core in cores for pid in descendants(core)})


def running(pids: Iterable[int]) -> set[psutil.Process]:
    """Those of the processes that run."""
    found = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.add(psutil.Process(pid))
    return left_of(found)


def end(processes: set[psutil.Process], wait_seconds: float = WAIT_SECONDS) -> set[psutil.Process]:
    """Kill those that still run; returns those that run on, which the kernel does not let go."""
    until = time.monotonic() + wait_seconds
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # also raised where another process has the id by now
            process.kill()
    while (left := left_of(processes)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return left


def left_of(processes: set[psutil.Process]) -> set[psutil.Process]:
    """Those that still run. One that has ended and that nobody has waited for yet does not."""
    return {process for process in processes if _runs(process)}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
