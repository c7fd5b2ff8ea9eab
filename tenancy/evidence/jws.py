"""Signs and checks compact JWS (RFC 7515) with keys of the trust file: API tokens, and events on the bus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from schemas.base.base64url import base64url, from_base64url
from schemas.base.canonical import canonical_json
from schemas.base.json_text import parse_json
from schemas.evidence.trust import Algorithm
from tenancy.errors import BadSignature
from tenancy.evidence.keys import PublicKey, SigningKey

JOSE: dict[Algorithm, str] = {"ed25519": "Ed25519", "ecdsa-p256": "ES256"}
"""The ``alg`` of each algorithm (RFC 9864, RFC 7518)."""
_HALF = 32  # bytes of each of the two numbers of an ES256 signature


def compact_jws(key: SigningKey, typ: str, payload: bytes) -> str:
    """The JWS of ``payload``. ``typ`` keeps documents of one key apart."""
    public = key.public_key
    header = {"alg": JOSE[public.algorithm], "kid": public.key_id, "typ": typ}
    message = f"{base64url(canonical_json(header))}.{base64url(payload)}"
    return f"{message}.{base64url(to_jose(key.sign(message.encode()), public.algorithm))}"


@dataclass(frozen=True)
class Jws:
    """A compact JWS as it came. Nothing of it is verified."""

    header: dict[str, Any]
    payload: bytes
    message: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Jws:
        """Raises :class:`BadSignature`."""
        message, _, signature = text.rpartition(".")
        protected, _, payload = message.partition(".")
        try:
            header = parse_json(from_base64url(protected))
            parsed = cls(header, from_base64url(payload), message.encode(), from_base64url(signature))
        except ValueError:
            raise BadSignature("this is no JWS") from None
        if not isinstance(header, dict):
            raise BadSignature("this is no JWS")
        return parsed

    def verify(self, typ: str, key: PublicKey) -> None:
        """Raises :class:`BadSignature` unless the key signed it as this ``typ``. The algorithm is the key's; what the
        JWS says of it must agree.
        """
        if self.header != {"alg": JOSE[key.algorithm], "kid": key.key_id, "typ": typ}:
            raise BadSignature("the JWS is of another kind, algorithm or key")
        try:
            key.verify(from_jose(self.signature, key.algorithm), self.message)
        except ValueError:
            raise BadSignature("this is no JWS") from None


def to_jose(signature: bytes, algorithm: Algorithm) -> bytes:
    """RFC 7518, 3.4: two numbers of 32 bytes, not DER."""
    if algorithm == "ed25519":
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_HALF) + s.to_bytes(_HALF)


def from_jose(signature: bytes, algorithm: Algorithm) -> bytes:
    if algorithm == "ed25519":
        return signature
    if len(signature) != 2 * _HALF:
        raise ValueError("no ES256 signature")
    return encode_dss_signature(int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:]))
