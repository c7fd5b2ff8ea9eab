"""Configures every AWS client: timeouts, and a connection per calling thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tenancy.errors import Refused, StoreUnavailable
from tenancy.platform.settings import REQUEST_ATTEMPTS
from tenancy.platform.threads import CONNECTIONS

_PASSING = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "ThrottlingException"}


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


def said(error: ClientError) -> tuple[str, int]:
    """The code and the status of an answer that is an error. Its message is not repeated."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def kms_answers() -> Iterator[None]:
    """Around a request to KMS. Raises :class:`StoreUnavailable` and :class:`Refused` for boto's errors."""
    try:
        yield
    except ClientError as error:
        code, status = said(error)
        if code in _PASSING or status >= 500:
            raise StoreUnavailable(f"KMS answered {status} {code}") from None
        raise Refused("kms-refused", f"refused: KMS answered {status} {code}") from None
    except BotoCoreError as error:
        raise StoreUnavailable(f"KMS is out of reach: {type(error).__name__}") from None
