"""Starts child processes, waits until they are ready, stops them by handle. None is looked up or killed by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local import die_with_parent
from deploy.local.errors import NotReady, ProcessExited

Probe = Callable[[], bool]

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
KILL_SECONDS = 10.0

# The kernel's parent-death signal fires when the forking thread ends, so every tied child is forked from this one
# thread, which lives until the interpreter exits.
_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


@dataclass(frozen=True)
class Command:
    """What to run. ``env`` is the whole environment of the child; its output is appended to ``log``."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path | None = None


class ChildProcess:
    """A child in a session of its own, so that it and what it forks can be ended together."""

    def __init__(self, command: Command, popen: subprocess.Popen[bytes]) -> None:
        self.command = command
        self._popen = popen

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int:
        return self._popen.pid

    def is_running(self) -> bool:
        return self._popen.returncode is None and not self._has_exited()

    def wait_ready(self, probe: Probe, timeout_s: float) -> None:
        """Call ``probe`` until it answers True.

        Raises :class:`ProcessExited` when the child ends first, :class:`NotReady` after ``timeout_s`` seconds.
        The child keeps running then; the caller stops it.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.is_running():
                raise ProcessExited(self.name, self.wait_exit(KILL_SECONDS), self.command.log)
            if probe():
                return
            if time.monotonic() >= deadline:
                raise NotReady(self.name, timeout_s, self.command.log)
            time.sleep(POLL_SECONDS)

    def wait_exit(self, timeout_s: float) -> int:
        """The exit status. Raises :class:`NotReady` when the child still runs after ``timeout_s`` seconds."""
        if not self._exits_within(timeout_s):
            raise NotReady(self.name, timeout_s, self.command.log)
        return self._popen.wait()

    def terminate(self) -> None:
        """Ask the child to end (SIGTERM) and return at once."""
        if self.is_running():
            os.kill(self.pid, signal.SIGTERM)  # not yet reaped: the number is still its own

    def stop(self, timeout_s: float = STOP_SECONDS) -> None:
        """SIGTERM, up to ``timeout_s`` seconds to obey, then SIGKILL for it and whatever it left in its group."""
        self.terminate()
        self._exits_within(timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the child and its process group, and reap it. Does nothing when it is already reaped."""
        if self._popen.returncode is not None:
            return
        # Not yet reaped, so its number and with it the group's number cannot have been given to anyone else.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(timeout=KILL_SECONDS)

    def _exits_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _has_exited(self) -> bool:
        """Looks without reaping: see :meth:`kill`."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start(command: Command, *, tie_to_parent: bool) -> ChildProcess:
    """Run ``command`` in a session of its own with no standard input.

    With ``tie_to_parent`` the kernel kills the child when this process ends in whatever way (what the child forked
    is not covered). Without it the child survives us, which is what ``sano up`` wants.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    argv = list(command.argv)
    if tie_to_parent:
        argv = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *argv]
    return _FORKER.submit(_fork, command, argv).result()


def start_ready(command: Command, probe: Probe, timeout_s: float, *, tie_to_parent: bool) -> ChildProcess:
    """Like :func:`start`, and wait until ``probe`` is True; on failure nothing is left running."""
    child = start(command, tie_to_parent=tie_to_parent)
    try:
        child.wait_ready(probe, timeout_s)
    except BaseException:
        child.kill()
        raise
    return child


def _fork(command: Command, argv: list[str]) -> ChildProcess:
    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(command.env),
            cwd=command.cwd,
            start_new_session=True,
        )
    finally:
        os.close(log)
    return ChildProcess(command, popen)
