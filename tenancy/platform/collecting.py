"""Says how often a process looks for garbage."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 100_000
"""More than is made at once and dropped again, as when a set of some ten thousand documents is read. By Python's own
700 such objects grow old meanwhile, and all objects of the process are walked, again and again. Of a start, in which
large libraries are imported, that is a sixth, and a quarter with the tensor libraries. Beside the embedder and the
gate, a write of 0.08 s had a walk of 0.3 s.
"""


def collect_seldom() -> None:
    """Let the garbage collector wait for :data:`YOUNG_OBJECTS` new objects.

    The packages that have processes call it when they are imported, before anything else of theirs: also in vLLM's
    processes, which import :mod:`inference.app` anew.
    """
    gc.set_threshold(YOUNG_OBJECTS)
