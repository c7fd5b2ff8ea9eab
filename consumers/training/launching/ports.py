"""Defines what the runner needs of whatever starts workers."""

from __future__ import annotations

from typing import Protocol

from tenancy.tenant_id import TenantId


class Workers(Protocol):
    """The workers as one look of the runner finds them, those included that it has started since."""

    def has_capacity(self) -> bool: ...

    def is_running(self, tenant: TenantId, run_id: str) -> bool: ...

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None: ...


class WorkerLauncher(Protocol):
    """Starts worker processes: child processes, or Kubernetes Jobs."""

    async def look(self) -> Workers:
        """Find out which workers run. Never raises: where that cannot be known, no worker is started at this look."""
        ...


def worker_arguments(tenant: TenantId, run_id: str, attempt: int) -> list[str]:
    """The command line of ``consumers.training.worker``."""
    return ["--tenant", tenant, "--run", run_id, "--holder", f"attempt-{attempt}"]
