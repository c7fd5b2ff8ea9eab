"""Signs statements and messages with a key of one purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature

from schemas.base.canonical import canonical_json
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import PAYLOAD_TYPE
from schemas.evidence.trust import DOCUMENTS
from tenancy.errors import Refused
from tenancy.evidence.keys import SigningKey, beside


@dataclass(frozen=True)
class Signer:
    """Signs what its purpose covers, with the key that ``source`` gives at that moment: keys are rotated."""

    purpose: Purpose
    source: Callable[[], SigningKey]

    @classmethod
    def of(cls, purpose: Purpose, key: SigningKey) -> Signer:
        """With a key that nobody changes."""
        return cls(purpose, lambda: key)

    @property
    def key(self) -> SigningKey:
        """The present key. Ask once for each signature. Raises :class:`Refused`."""
        return self.source()

    @property
    def key_id(self) -> str:
        """The name of the present key."""
        return self.key.public_key.key_id

    def sign(self, statement: dict[str, Any]) -> dict[str, Any]:
        """The DSSE envelope of the canonical JSON of ``statement``. Raises :class:`Refused` for one of another purpose,
        and what a remote key raises. A remote key blocks: see :meth:`signed`.
        """
        return self._signed(statement, self.key)

    async def signed(self, statement: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`sign`, off the event loop where the key is on another machine."""
        key = self.key
        return await beside(key, lambda: self._signed(statement, key))

    def _signed(self, statement: dict[str, Any], key: SigningKey) -> dict[str, Any]:
        kind = DOCUMENTS.get(statement["predicateType"])
        if kind is None or kind.purpose is not self.purpose:
            raise Refused("wrong-purpose", f"refused: a key for {self.purpose}s signs no {statement['predicateType']}")
        return signed_envelope(statement, key)


def signed_envelope(statement: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    """The DSSE envelope of the canonical JSON of ``statement``, whatever the key's purpose."""
    return _with_signature(Envelope(canonical_json(statement), PAYLOAD_TYPE, {}), key)


def countersigned_envelope(envelope: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    """``envelope``, which the caller has verified, with a signature of this key beside those in it; again is no change.

    Over the same bytes (DSSE's PAE), so that neither signature depends on the other.
    """
    copied = json.loads(json.dumps(envelope))  # securesystemslib pops from the dict it parses
    return _with_signature(Envelope.from_dict(copied), key)


def _with_signature(envelope: Envelope, key: SigningKey) -> dict[str, Any]:
    key_id = key.public_key.key_id
    envelope.signatures[key_id] = Signature(key_id, key.sign(envelope.pae()).hex())
    signed: dict[str, Any] = envelope.to_dict()
    return signed
