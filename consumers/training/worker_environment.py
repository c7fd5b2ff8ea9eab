"""Sets how a worker's compute threads wait, in its environment: see :mod:`tenancy.platform.compute_threads`."""

from __future__ import annotations

import os

from tenancy.platform.compute_threads import THREADS


def worker_environment() -> dict[str, str]:
    """This process's environment, and :data:`THREADS` where it says nothing else."""
    return {**THREADS, **os.environ}


def set_threads() -> None:
    """The same in this process, before it imports torch."""
    os.environ.update(worker_environment())
