"""Stops every process of a stack, whoever started it.

A process belongs to the stack that its environment named when it was executed. So what left its process group is found
too, and a pid that the kernel has given to somebody else since is not.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence, Set
from contextlib import suppress

import psutil

from deploy.local.errors import NotStopped
from deploy.local.processes import POLL_SECONDS
from deploy.local.services import MEMBER_MARKER, Folders
from deploy.local.stack_file import RunningProcess

SERVICE_SECONDS = 30.0
BUS_AND_STORE_SECONDS = 15.0
KILL_SECONDS = 15.0
BUS_AND_STORE = ("bus", "object-store", "kafka-")


def running_members(folders: Folders) -> list[psutil.Process]:
    """Every live process that was started for the stack in this folder, or forked and executed by one of those."""
    return members(MEMBER_MARKER, str(folders.home))


def members(marker: str, value: str) -> list[psutil.Process]:
    """Every live process of ours, but this one, whose environment had ``marker=value`` when it was executed."""
    # Of another user's process, and of a zombie, there is none to see.
    return [
        process
        for process in psutil.process_iter(["environ"])
        if process.pid != os.getpid() and (process.info["environ"] or {}).get(marker) == value
    ]


def stop_all(recorded: Sequence[RunningProcess], folders: Folders) -> None:
    """SIGTERM to the services, then to the bus and the store they may still write to, then SIGKILL to all members.

    Takes at most a minute. Raises :class:`NotStopped` when something outlives SIGKILL (stuck in the kernel).
    """
    names = {process.pid: process.name for process in recorded}
    services = {pid for pid, name in names.items() if not name.startswith(BUS_AND_STORE)}
    _terminate(services, folders, SERVICE_SECONDS)
    _terminate(names.keys() - services, folders, BUS_AND_STORE_SECONDS)
    deadline = time.monotonic() + KILL_SECONDS
    # A member may fork while the list is read, so it is read again until it is empty.
    while left := running_members(folders):
        if time.monotonic() >= deadline:
            raise NotStopped(sorted(names.get(member.pid, f"process {member.pid}") for member in left))
        _signal(left, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _terminate(pids: Set[int], folders: Folders, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    _signal([member for member in running_members(folders) if member.pid in pids], signal.SIGTERM)
    while not pids.isdisjoint(member.pid for member in running_members(folders)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _signal(processes: Sequence[psutil.Process], signum: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # also raised where another process has the pid by now
            process.send_signal(signum)
