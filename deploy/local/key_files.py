"""The local stack's master key and signing keys, made once as files that only their owner may read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

MASTER_KEY_BYTES = 32


def ensure_master_key(path: Path) -> None:
    """32 random bytes in base64, unless the file is there: a new key could open nothing sealed before."""
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)) + b"\n")


def ensure_signing_key(signing: Path, verify: Path) -> None:
    """An Ed25519 pair in PEM: PKCS8 private and SubjectPublicKeyInfo public. What is there already is kept."""
    if not signing.exists():
        key = Ed25519PrivateKey.generate()
        write_private(signing, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not verify.exists():
        public = load_pem_private_key(signing.read_bytes(), password=None).public_key()
        verify.parent.mkdir(parents=True, exist_ok=True)
        verify.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def write_private(path: Path, content: bytes) -> None:
    """Written beside and renamed, so that an interruption never leaves half a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    scratch.replace(path)
