"""Creates the local stack's master key and its review page's source key, each once, as a file for its owner only."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def ensure_key(path: Path) -> None:
    """32 random bytes in base64, unless the file is there: a new key could open nothing sealed before."""
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")


def write_private(path: Path, content: bytes) -> None:
    """Written beside and renamed, so that an interruption never leaves half a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    scratch.replace(path)
