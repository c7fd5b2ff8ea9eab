"""Signs and opens statements: in-toto in DSSE envelopes, Ed25519, by securesystemslib."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from schemas.base.canonical import canonical_json
from schemas.base.json_text import parse_json
from schemas.evidence.statements import PAYLOAD_TYPE, STATEMENT_TYPE
from tenancy.errors import BadSignature, Refused


@dataclass(frozen=True)
class Verifier:
    """Checks envelopes against the one public key that this installation trusts."""

    public_key: Ed25519PublicKey

    @classmethod
    def read(cls, path: Path, given_by: str = "SANO_VERIFY_KEY_FILE") -> Verifier:
        """Read a PEM public key. ``given_by`` is where to name another file. Raises :class:`Refused`."""
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise _unreadable("no-verify-key", path, error, given_by) from None
        except ValueError:
            raise Refused("no-verify-key", f"refused: {path} is no PEM public key; give one by {given_by}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise Refused("no-verify-key", f"refused: {path} is no Ed25519 public key")
        return cls(key)

    @property
    def key_id(self) -> str:
        """The name of the public key in DSSE envelopes: a digest of it."""
        return str(SSlibKey.from_crypto(self.public_key).keyid)

    def verify(self, envelope: dict[str, Any], predicate_type: str) -> dict[str, Any]:
        """The statement inside, once its signature, type and predicate type are right. Raises BadSignature."""
        try:
            parsed = Envelope.from_dict(_copied(envelope))
            if parsed.payload_type != PAYLOAD_TYPE:
                raise BadSignature("the envelope does not hold an in-toto statement")
            if parsed.to_dict() != envelope or any(set(one) != {"keyid", "sig"} for one in envelope["signatures"]):
                # Base64 has several spellings of the same bytes: another spelling would be a changed byte that passes.
                raise BadSignature("the envelope holds more than what is signed, or spells it in another way")
            parsed.verify([SSlibKey.from_crypto(self.public_key)], threshold=1)
            statement = parse_json(parsed.payload)
        except (VerificationError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadSignature(f"the signature does not verify ({type(error).__name__})") from None
        if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
            raise BadSignature("the envelope does not hold an in-toto statement v1")
        if statement.get("predicateType") != predicate_type:
            raise BadSignature("the statement is of another kind than was asked for")
        return statement


@dataclass(frozen=True)
class Signer:
    """Signs statements with the installation's private key. ``earlier`` are public keys of those that it replaced."""

    private_key: Ed25519PrivateKey
    earlier: tuple[Verifier, ...] = ()

    @classmethod
    def read(cls, path: Path, given_by: str = "SANO_SIGNING_KEY_FILE", *, earlier: tuple[Verifier, ...] = ()) -> Signer:
        """Read a PEM private key. ``given_by`` is where to name another file. Raises :class:`Refused`."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise _unreadable("no-signing-key", path, error, given_by) from None
        except (ValueError, TypeError):
            why = f"refused: {path} is no PEM private key without a passphrase; give one by {given_by}"
            raise Refused("no-signing-key", why) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Refused("no-signing-key", f"refused: {path} is no Ed25519 key")
        return cls(key, earlier)

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.private_key.public_key())

    def sign(self, statement: dict[str, Any]) -> dict[str, Any]:
        """The DSSE envelope of the canonical JSON of ``statement``. Ed25519 signatures are deterministic."""
        envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
        envelope.sign(CryptoSigner(self.private_key))
        signed: dict[str, Any] = envelope.to_dict()
        return signed

    def countersign(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """``envelope``, which the caller has verified, with a signature of this key beside those in it; again is no
        change. Over the same bytes (DSSE's PAE), so that neither signature depends on the other.
        """
        parsed = Envelope.from_dict(_copied(envelope))
        parsed.sign(CryptoSigner(self.private_key))
        signed: dict[str, Any] = parsed.to_dict()
        return signed


def unverified(envelope: Any) -> dict[str, Any]:
    """What an envelope says, whoever signed it. Raises :class:`ValueError` for what is no envelope of a statement."""
    try:
        statement = parse_json(base64.b64decode(envelope["payload"], validate=True))
    except (KeyError, TypeError, ValueError):
        raise ValueError("no envelope") from None
    if not isinstance(statement, dict):
        raise ValueError("no statement")
    return statement


def _unreadable(code: str, path: Path, error: OSError, given_by: str) -> Refused:
    return Refused(code, f"refused: {path} cannot be read ({error.strerror}); give a key's file by {given_by}")


def _copied(envelope: dict[str, Any]) -> dict[str, Any]:
    """securesystemslib pops from the dict it parses."""
    copied: dict[str, Any] = json.loads(json.dumps(envelope))
    return copied
