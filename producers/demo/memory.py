"""Measures the demo's peak memory: this process and its descendants, shared pages counted once."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

PAUSE_SECONDS = 3.0  # the kernel walks a process's pages to answer, tens of milliseconds for the large ones


class MemoryPeak:
    """The largest sum that was seen, in bytes, while the context lasts; 0 where nothing may be looked at."""

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


def tree(root: int) -> list[psutil.Process]:
    """``root`` and its descendants, as far as they are alive."""
    with suppress(psutil.Error):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def proportional_bytes(processes: list[psutil.Process]) -> int:
    """Sum of the proportional set sizes: a page that n processes map counts a n-th for each."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it has ended meanwhile
            total += process.memory_full_info().pss
    return total
