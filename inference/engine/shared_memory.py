"""Removes shared-memory segments that the engine's killed processes leave: their messages hold token ids."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import psutil

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
PREFIX = "psm_"
"""Of the names that ``SharedMemory`` makes. Nothing else is noted, and so nothing else is ever removed."""
POLL_SECONDS = 0.05


def descendants(pid: int) -> set[int]:
    """All processes that this one started, and theirs. One whose parent has died is init's child and is not found."""
    with suppress(psutil.NoSuchProcess):
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return set()


def mapped(pids: Iterable[int] | None = None) -> set[str]:
    """The names of the segments that these processes have mapped, or any process that may be looked at."""
    maps = Path("/proc").glob("[0-9]*/maps") if pids is None else (Path(f"/proc/{pid}/maps") for pid in pids)
    names: set[str] = set()
    for each in maps:
        with suppress(OSError):
            lines = each.read_text().splitlines()
            names |= {line.partition(f"{FOLDER}/")[2] for line in lines if f" {FOLDER}/{PREFIX}" in line}
    return {name for name in names if not name.endswith(" (deleted)")}


def unlink(names: set[str], wait_seconds: float = 2.0) -> set[str]:
    """Remove those that no process has mapped; what was killed may take a moment. Returns those that are in use still.

    Python's resource tracker removes them too, once this process is over. But where that ends a container, or the
    whole process group is killed, the tracker dies first.
    """
    until = time.monotonic() + wait_seconds
    while (used := names & mapped()) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    for name in sorted(names - used):
        with suppress(FileNotFoundError):
            segment = SharedMemory(name)
            segment.close()
            segment.unlink()  # which tells the tracker too, so that it warns of nothing
    return used
