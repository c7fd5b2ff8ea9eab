"""Sets how the compute threads of a worker wait for each other: libgomp reads it from the environment only, at import.

A step has thousands of short barriers. Threads that spin long at one take the core from the thread that they wait for,
where cores are shared; and where none spins at all, each barrier costs a wake-up. Measured in ``make bench``
(``training_step``).
"""

from __future__ import annotations

import os

THREADS = {"GOMP_SPINCOUNT": "1000"}


def worker_environment() -> dict[str, str]:
    """This process's environment, and :data:`THREADS` where it says nothing else."""
    return {**THREADS, **os.environ}


def set_threads() -> None:
    """The same in this process, before it imports torch."""
    os.environ.update(worker_environment())
