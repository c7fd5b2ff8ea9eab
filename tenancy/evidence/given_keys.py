"""Verifies with public keys that the caller vouches for: an outsider has a key, not the trust file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenancy.errors import BadSignature, Refused
from tenancy.evidence.envelopes import opened
from tenancy.evidence.keys import KINDS, PublicKey
from tenancy.platform.given_files import read_given


@dataclass(frozen=True)
class GivenKeys:
    """Keys whose purpose and times are the caller's to know."""

    keys: tuple[PublicKey, ...]
    is_dated: bool = field(default=False, init=False)

    def verify(self, envelope: dict[str, Any], predicate_type: str) -> dict[str, Any]:
        return self.verified(envelope, predicate_type)[0]

    def verified(self, envelope: dict[str, Any], predicate_type: str) -> tuple[dict[str, Any], str]:
        """By whichever of the keys signed. Raises :class:`BadSignature`."""
        why = BadSignature("no key is trusted")
        for key in self.keys:
            try:
                return opened(envelope, predicate_type, key), key.key_id
            except BadSignature as refusal:
                why = refusal
        raise why

    def has(self, key_id: str) -> bool:
        return any(key.key_id == key_id for key in self.keys)


def read_public_key(path: Path, given_by: str) -> PublicKey:
    """Read a PEM public key. ``given_by`` is where to name another file. Raises :class:`Refused`."""
    body = read_given(path, "no-verify-key", f"; give a key's file by {given_by}")
    try:
        return PublicKey.parse(body)
    except ValueError:
        why = f"refused: {path} is no PEM public key of {KINDS}; give one by {given_by}"
        raise Refused("no-verify-key", why) from None
