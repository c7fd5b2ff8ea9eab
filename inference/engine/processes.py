"""Tracks the engine's processes while they run, and kills those that outlive the engine.

vLLM ends its core process. Workers exit when they see that the core is gone, but a worker that hangs in a step never
sees it: it would keep its adapters, and the GPU's memory.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engine.shared_memory import POLL_SECONDS, descendants

WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """A process by its id and by when it started, since ids are given again."""

    pid: int
    started: int


def of_engine(llm: Any) -> set[Process]:
    """The core processes of vLLM's AsyncLLM and all that they started. Not ours: this one's other children stay."""
    cores = {core.pid for core in llm.engine_core.resources.engine_manager.processes if core.pid is not None}
    return running(cores | {pid for core in cores for pid in descendants(core)})


def running(pids: Iterable[int]) -> set[Process]:
    """Those of the processes that run. One that has ended and that nobody has waited for yet does not."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found.add(Process(pid, int(fields[19])))
    return found


def end(processes: set[Process], wait_seconds: float = WAIT_SECONDS) -> set[Process]:
    """Kill those that still run; returns those that run on, which the kernel does not let go."""
    until = time.monotonic() + wait_seconds
    for process in left_of(processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    while (left := left_of(processes)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return left


def left_of(processes: set[Process]) -> set[Process]:
    return processes & running(process.pid for process in processes)
