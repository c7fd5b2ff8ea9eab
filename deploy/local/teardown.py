"""Stops everything that belongs to a stack, whoever started it."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from deploy.local.errors import NotStopped
from deploy.local.identity import ProcessIdentity, members
from deploy.local.services import MEMBER_MARKER, Folders
from deploy.local.stack_file import RunningProcess

SERVICE_SECONDS = 30.0
BUS_AND_STORE_SECONDS = 15.0
KILL_SECONDS = 15.0
BUS_AND_STORE = ("bus", "object-store", "kafka-")


def running_members(folders: Folders) -> list[ProcessIdentity]:
    """Every live process that was started for the stack in this folder, or forked and executed by one of those."""
    return members(MEMBER_MARKER, str(folders.home))


def stop_all(recorded: Sequence[RunningProcess], folders: Folders) -> None:
    """SIGTERM to the services, then to the bus and the store they may still write to, then SIGKILL to all members.

    Takes at most a minute. Raises :class:`NotStopped` when something outlives SIGKILL (stuck in the kernel).
    """
    services = [process for process in recorded if not process.name.startswith(BUS_AND_STORE)]
    _terminate(services, SERVICE_SECONDS)
    _terminate([process for process in recorded if process not in services], BUS_AND_STORE_SECONDS)
    names = {process.identity: process.name for process in recorded}
    deadline = time.monotonic() + KILL_SECONDS
    # A member may fork while the list is read, so it is read again until it is empty.
    while left := {identity for identity in names if identity.is_alive()} | set(running_members(folders)):
        if time.monotonic() >= deadline:
            raise NotStopped(sorted(names.get(identity, f"process {identity.pid}") for identity in left))
        for identity in left:
            identity.signal(signal.SIGKILL)
        for identity in left:
            identity.wait_gone(max(0.0, deadline - time.monotonic()))


def _terminate(processes: Sequence[RunningProcess], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for process in processes:
        process.identity.signal(signal.SIGTERM)
    for process in processes:
        process.identity.wait_gone(max(0.0, deadline - time.monotonic()))
