"""Pseudonymizes external names: the audit log keeps the pseudonyms after the names, and the key, are gone."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PSEUDONYM_DIGITS = 32  # 128 bits: no two names of a tenant meet

Named = Literal["reviewer", "example", "consent", "export", "reason", "author", "document"]


@dataclass(frozen=True)
class Pseudonyms:
    """HMAC-SHA256 under a key that HKDF (RFC 5869) derives from the tenant's data key, and that dies with it.

    Whoever has that key can find the pseudonym of a name; without it neither can be found from the other.
    """

    key: bytes = field(repr=False)

    @classmethod
    def derived(cls, data_key: bytes) -> Pseudonyms:
        info = b"sanolith/audit/pseudonym/v1"
        return cls(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(data_key))

    def of(self, named: Named, name: str) -> str:
        """The pseudonym, in hex. A reviewer and an example of the same name have different ones."""
        return hmac.new(self.key, f"{named}|{name}".encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]
