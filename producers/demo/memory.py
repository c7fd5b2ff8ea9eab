"""Measures the demo's peak memory: this process and its descendants, shared pages counted once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

PAUSE_SECONDS = 3.0
GROWTH = 1.01
"""Of the resident pages, from which on they are looked at: to say who shares each page the kernel walks all of them,
a quarter of a second for a stack with an engine. It knows their number without.
"""


class MemoryPeak:
    """The largest sum that was seen, in bytes, while the context lasts, short of a hundredth; 0 where nothing may be
    looked at.
    """

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
        highest = 0.0
        while True:
            processes = tree(os.getpid())
            if (resident := total(processes, resident_bytes)) >= highest * GROWTH:
                highest = resident
                self.bytes = max(self.bytes, total(processes, proportional_bytes))
            if self._over.wait(PAUSE_SECONDS):
                return


def tree(root: int) -> list[psutil.Process]:
    """``root`` and its descendants, as far as they are alive."""
    with suppress(psutil.Error):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def total(processes: list[psutil.Process], measure: Callable[[psutil.Process], int]) -> int:
    """Sum of what ``measure`` says of each, in bytes; of one that has ended meanwhile nothing."""
    found = 0
    for process in processes:
        with suppress(psutil.Error):
            found += measure(process)
    return found


def resident_bytes(process: psutil.Process) -> int:
    """Its resident set size: a page that several processes map counts for each."""
    return int(process.memory_info().rss)


def proportional_bytes(process: psutil.Process) -> int:
    """Its proportional set size: a page that n processes map counts a n-th for each."""
    return int(process.memory_full_info().pss)
