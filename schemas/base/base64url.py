"""Encodes and decodes base64url without padding (RFC 7515, 2)."""

from __future__ import annotations

import base64


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Raises :class:`ValueError`, also for another spelling of the same bytes."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(raw) != text:
        raise ValueError("no base64url")
    return raw
