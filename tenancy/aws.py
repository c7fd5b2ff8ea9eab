"""What every client of AWS is given: waits that end, and a connection for each thread that asks it."""

from __future__ import annotations

from botocore.config import Config

from tenancy.settings import REQUEST_ATTEMPTS
from tenancy.threads import CONNECTIONS


def bounded(timeout_seconds: float) -> Config:
    """``timeout_seconds`` to connect, and to answer, at each attempt: see ``PlatformSettings.store_write_seconds``."""
    return Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    )
