"""Identifies a process so that a recycled pid is never taken for it. Linux only (``/proc``, pidfd)."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_GONE_STATES = "ZX"  # a zombie holds nothing but its number


@dataclass(frozen=True)
class ProcessIdentity:
    """``pid`` plus the kernel's start time in clock ticks since boot: together they name one process for ever."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this pid now, or None when it is gone or a zombie."""
        found = _stat(pid)
        return None if found is None or found[0] in _GONE_STATES else cls(pid, found[1])

    def is_alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def signal(self, signum: signal.Signals) -> bool:
        """Send ``signum`` to exactly this process; False when it is gone.

        The pidfd is opened first and the start time read after, so no pid reuse can come in between.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(handle, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait until the process has ended (a zombie has); True when it did within ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            while self.is_alive():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                select.select([handle], [], [], left)
        finally:
            os.close(handle)
        return True


def members(marker: str, value: str) -> list[ProcessIdentity]:
    """Every live process of ours whose environment had ``marker=value`` when it was executed.

    This also finds grandchildren that left their process group, which is why the stack marks its children.
    """
    wanted = f"{marker}={value}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        identity = ProcessIdentity.of(int(entry.name))
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if identity is not None and wanted in environment.split(b"\0") and identity.is_alive():
            found.append(identity)
    return found


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, start time). The command name may hold spaces and brackets, so count from the last bracket."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])
