"""Derives a source's ids and salts from its own key, so that proposing the same text again is the same event.

The key stays on the hospital's side. It opens nothing: whoever has it can only tell whether an id or a commitment is
that of a text that they have already. Destroy it when the tenant's contract ends.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from schemas.base.canonical import canonical_json
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.platform.secret_files import read_secret

ID_DIGITS = 32  # 128 bits: no two occurrences of a tenant meet


@dataclass(frozen=True)
class SourceKey:
    """HMAC-SHA256 under 32 bytes from a file that only its owner may read."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a base64 key file. Raises :class:`Refused` when it is missing, readable by others or not a key."""
        how = "make one with `openssl rand -base64 32`, chmod 600 it, and set SANO_SOURCE_KEY_FILE"
        if path is None or not path.is_file():
            raise Refused("no-source-key", f"refused: a source needs a key file of its own; {how}")
        return cls(read_secret(path, "source-key", f"; {how}"))

    def opaque_id(self, of: str, tenant: str, natural_key: str) -> str:
        """An id for what has none that may leave the hospital: the same for the same, and no guess without the key."""
        return f"{of}-{self._mac('id', of, tenant, natural_key)[:ID_DIGITS]}"

    def consent_id(self, tenant: str, patient: Sequence[str]) -> str:
        """Of how a source names a patient, which leaves the hospital in no other form."""
        return self.opaque_id("consent", tenant, canonical_json(list(patient)).decode())

    def salt(self, tenant: str, example_id: str, version: int, messages: Sequence[ChatMessage]) -> str:
        """The salt of the example's commitment, in hex."""
        chat = canonical_json([message.model_dump() for message in messages]).decode()
        return self._mac("salt", tenant, example_id, str(version), chat)

    def secret(self, purpose: str) -> str:
        """A secret for another purpose of the same process, which says nothing of the key."""
        return self._mac("secret", purpose)

    def date_seed(self, tenant: str, example_id: str) -> bytes:
        """What the distance comes from by which an example's dates move: the same in each of its versions."""
        return bytes.fromhex(self._mac("dates", tenant, example_id))

    def _mac(self, *parts: str) -> str:
        return hmac.new(self.key, canonical_json(["sanolith/source/v1", *parts]), "sha256").hexdigest()
