"""Derives keys from a tenant's data key (HKDF-SHA256, RFC 5869): one for each purpose, and all end with the data key.

A tag is an HMAC-SHA256 under such a key: nobody without the data key can make it, or tell what it is of.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TAG_DIGITS = 32  # 128 bits: no two texts of a tenant meet


def derived_key(data_key: bytes, purpose: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes for this purpose, and for this salt where there is one."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(data_key)


def tag(key: bytes, text: str) -> str:
    """The tag of a text, in hex."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:TAG_DIGITS]
