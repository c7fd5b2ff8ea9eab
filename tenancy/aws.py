"""What every client of AWS is given: waits that end."""

from __future__ import annotations

from botocore.config import Config

from tenancy.settings import REQUEST_ATTEMPTS


def bounded(timeout_seconds: float) -> Config:
    """``timeout_seconds`` to connect, and to answer, at each attempt: see ``PlatformSettings.store_write_seconds``."""
    return Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    )
