"""Measures the demo's peak memory: this process and its descendants, shared pages counted once."""

from __future__ import annotations

import os
import threading
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
            if (resident := resident_bytes(processes)) >= highest * GROWTH:
                highest = resident
                self.bytes = max(self.bytes, proportional_bytes(processes))
            if self._over.wait(PAUSE_SECONDS):
                return


def tree(root: int) -> list[psutil.Process]:
    """``root`` and its descendants, as far as they are alive."""
    with suppress(psutil.Error):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def resident_bytes(processes: list[psutil.Process]) -> int:
    """Sum of what each maps; a page that several map counts for each."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it has ended meanwhile
            total += process.memory_info().rss
    return total


def proportional_bytes(processes: list[psutil.Process]) -> int:
    """Sum of the proportional set sizes: a page that n processes map counts a n-th for each."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it has ended meanwhile
            total += process.memory_full_info().pss
    return total
