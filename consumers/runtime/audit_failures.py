"""Logs audit failures instead of raising them, so that a deletion goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tenancy.errors import Refused, Transient
from tenancy.platform.logs import error_location


@contextmanager
def audit_failure_logged(logger: logging.Logger, message: str, **extra: str) -> Iterator[None]:
    """Whatever the log's trouble is, ``message`` says it, and what follows goes on: a deletion must.

    :class:`Transient` goes through: the store is out of reach, and would take what follows no more than this.
    """
    try:
        yield
    except Transient:
        raise
    except Exception as error:
        reason = error.code if isinstance(error, Refused) else error_location(error)
        logger.error(message, extra={**extra, "reason": reason})
