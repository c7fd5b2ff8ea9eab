"""Measures how work grows with what is to be done, for tests of what may not grow with its square."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TIMES = 16
"""As much more is done in the larger run. Work that grows with the length takes so many times as long, and work that
grows with its square takes 256 times."""
MOST = 4 * TIMES
ROUNDS = 3


def growth(work: Callable[[int], object], few: int) -> float:
    """How many times as much of a processor ``TIMES`` as much work takes: the least of some rounds of each.

    No garbage is collected meanwhile: that takes as long as the whole process is large, and comes to the larger run.
    """

    def seconds(count: int) -> float:
        begun = time.process_time()
        work(count)
        return time.process_time() - begun

    work(few)
    gc.collect()
    gc.disable()
    try:
        return min(seconds(few * TIMES) for _ in range(ROUNDS)) / min(seconds(few) for _ in range(ROUNDS))
    finally:
        gc.enable()
