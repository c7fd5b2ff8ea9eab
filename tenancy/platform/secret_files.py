"""Reads secrets from files that only their owner may read."""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

from tenancy.errors import Refused

SECRET_BYTES = 32


def read_secret(path: Path, name: str, remedy: str = "") -> bytes:
    """The 32 bytes that a file holds in base64. ``name`` begins the codes of refusals, such as ``bad-master-key``.

    Raises :class:`Refused` where the file is readable by others or holds something else; the caller has looked whether
    it is there.
    """
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(f"{name}-permissions", f"refused: {path} is readable by others; chmod 600 it")
    try:
        secret = base64.b64decode(path.read_bytes().strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise Refused(f"bad-{name}", f"refused: {path} does not hold {SECRET_BYTES} bytes in base64{remedy}")
    return secret
