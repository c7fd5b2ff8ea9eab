"""Bounds what a process that reads what others wrote may take. The kernel counts, whatever the process does."""

from __future__ import annotations

import resource
import time
from pathlib import Path


def bound_memory(more_bytes: int) -> None:
    """From now on at most so much private memory beyond what the process has; there is no dump of it either."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + more_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bound_processor(more_seconds: int) -> None:
    """From now on so many seconds of a core, up to one more: the kernel counts whole ones, of the process's life. Then
    it is killed (SIGXCPU)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + more_seconds, hard))


def _data_bytes() -> int:
    """The private memory that RLIMIT_DATA counts."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmData"].split()[0]) * 1024
