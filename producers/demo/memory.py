"""Measures the demo's peak memory: this process and its descendants, shared pages counted once."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
PAUSE_SECONDS = 3.0  # the kernel walks a process's pages to answer, tens of milliseconds for the large ones


class MemoryPeak:
    """The largest sum that was seen, in bytes, while the context lasts; 0 where there is no ``/proc``."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-peak", daemon=True)

    @property
    def gib(self) -> float:
        return self.bytes / 2**30

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, proportional_bytes(tree(os.getpid())))
            if self._over.wait(PAUSE_SECONDS):
                return


def tree(root: int) -> list[int]:
    """``root`` and its descendants, as far as they are alive."""
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        try:
            # The name before it is in brackets and may hold anything.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def proportional_bytes(pids: list[int]) -> int:
    """Sum of the proportional set sizes: a page that n processes map counts a n-th for each."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
