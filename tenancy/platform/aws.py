"""Configures every AWS client: timeouts, and a connection per calling thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from tenancy.errors import Refused
from tenancy.platform.settings import REQUEST_ATTEMPTS
from tenancy.platform.threads import CONNECTIONS


@contextmanager
def configured(name: str) -> Iterator[None]:
    """Around the making of a client. Raises :class:`Refused` for what boto3 finds missing or wrong: a region, a
    profile. Its message is not repeated: it may quote a file.
    """
    try:
        yield
    except BotoCoreError as error:
        remedy = "set AWS_DEFAULT_REGION, and look at AWS_PROFILE and the files that it names"
        raise Refused("bad-settings", f"refused: no client of {name} ({type(error).__name__}); {remedy}") from None


def bounded(timeout_seconds: float) -> Config:
    """``timeout_seconds`` to connect, and to answer, at each attempt: see ``PlatformSettings.store_write_seconds``."""
    return Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
    )
