"""Signs and checks compact JWS (RFC 7515) with keys of the trust file: API tokens, and events on the bus."""

from __future__ import annotations

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


def claimed_header(jws: str) -> dict[str, Any]:
    """What a JWS says of itself, whoever signed it. Raises :class:`BadSignature`."""
    try:
        header = parse_json(from_base64url(jws.partition(".")[0]))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise BadSignature("this is no JWS")
    return header


def claimed_payload(jws: str) -> bytes:
    """What a JWS holds, whoever signed it. Raises :class:`BadSignature`."""
    try:
        return from_base64url(jws.split(".")[1])
    except (ValueError, IndexError):
        raise BadSignature("this is no JWS") from None


def opened_jws(jws: str, typ: str, key: PublicKey) -> bytes:
    """The payload, once the key's signature and ``typ`` are right. Raises :class:`BadSignature`.

    The algorithm is the key's; what the JWS says of it must agree.
    """
    header = claimed_header(jws)
    if header != {"alg": JOSE[key.algorithm], "kid": key.key_id, "typ": typ}:
        raise BadSignature("the JWS is of another kind, algorithm or key")
    message, _, signature = jws.rpartition(".")
    try:
        key.verify(from_jose(from_base64url(signature), key.algorithm), message.encode())
        return from_base64url(message.partition(".")[2])
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
