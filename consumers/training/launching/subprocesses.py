"""Starts workers as child processes."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from consumers.training.launching.ports import worker_arguments
from consumers.training.worker_environment import worker_environment
from tenancy.platform.logs import SCOPE
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.training")

STOP_SECONDS = 20.0
KILL_SECONDS = 10.0
"""For a killed process to be gone: longer only where the kernel itself hangs."""


@dataclass
class SubprocessLauncher:
    """Workers as child processes."""

    max_concurrent: int
    on_exit: Callable[[], None]
    stop_seconds: float = STOP_SECONDS
    _children: dict[tuple[str, str], asyncio.subprocess.Process] = field(default_factory=dict)
    _watchers: set[asyncio.Task[None]] = field(default_factory=set)

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return len(self._children) < self.max_concurrent

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return (tenant, run_id) in self._children

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumers.training.worker", *worker_arguments(tenant, run_id, attempt)),
            stdin=asyncio.subprocess.DEVNULL,
            env=worker_environment(),
        )
        self._children[(tenant, run_id)] = child
        watcher = asyncio.create_task(self._watch(tenant, run_id, child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, tenant: TenantId, run_id: str, child: asyncio.subprocess.Process) -> None:
        status = await child.wait()
        self._children.pop((tenant, run_id), None)
        logger.info("worker ended", extra={"run_id": run_id, "status": status})
        self.on_exit()

    async def stop(self) -> None:
        """Ask the children to give their attempts back, then kill them, which costs an attempt. They are made again
        elsewhere.
        """
        await self._signalled(signal.SIGTERM, self.stop_seconds)
        await self._signalled(signal.SIGKILL, KILL_SECONDS)

    async def _signalled(self, number: signal.Signals, seconds: float) -> None:
        """Send it to every child, and wait until all have ended; no longer than ``seconds``."""
        for child in list(self._children.values()):
            with suppress(ProcessLookupError):  # it has ended, and is not watched to its end yet
                child.send_signal(number)
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=seconds)
