"""Provides time and randomness, injected so that tests can live through sixty days in a second."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
NewNonce = Callable[[], str]


def utc_now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def random_nonce() -> str:
    """128 random bits in hex."""
    return secrets.token_hex(16)


def between(at: datetime, earliest: datetime, now: datetime) -> datetime:
    """``at``, which another machine's clock said of what came after ``earliest`` and has reached us by ``now``.

    Where that clock says otherwise, the nearer of the two.
    """
    return max(earliest, min(at, now))
