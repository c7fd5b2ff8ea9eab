"""Pseudonymizes external names: the audit log keeps the pseudonyms after the names, and the key, are gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tenancy.storage.derived_keys import derived_key, tag

Named = Literal["reviewer", "example", "consent", "export", "reason", "author", "document"]


@dataclass(frozen=True)
class Pseudonyms:
    """HMAC-SHA256 under a key that HKDF (RFC 5869) derives from the tenant's data key, and that dies with it.

    Whoever has that key can find the pseudonym of a name; without it neither can be found from the other.
    """

    key: bytes = field(repr=False)

    @classmethod
    def derived(cls, data_key: bytes) -> Pseudonyms:
        return cls(derived_key(data_key, b"sanolith/audit/pseudonym/v1"))

    def of(self, named: Named, name: str) -> str:
        """The pseudonym, in hex. A reviewer and an example of the same name have different ones."""
        return tag(self.key, f"{named}|{name}")
