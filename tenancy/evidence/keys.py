"""Defines the keys of signatures: public keys as PEM with their ids, and the port of private keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey as EcPublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from securesystemslib.signer import SSlibKey

from schemas.evidence.trust import Algorithm
from tenancy.errors import BadSignature, Refused
from tenancy.platform.given_files import read_given

T = TypeVar("T")

KINDS = "Ed25519 or ECDSA P-256"


@dataclass(frozen=True)
class PublicKey:
    """A public key of an algorithm that is known here."""

    inner: Ed25519PublicKey | EcPublicKey
    key_id: str = field(init=False)
    """Its name in DSSE envelopes, in the kid of a JWS and in the trust file: a digest of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", str(self.sslib.keyid))  # each event and each request asks for it

    @classmethod
    def parse(cls, pem: bytes) -> PublicKey:
        """Raises :class:`ValueError` for what is no PEM public key, or none of these algorithms."""
        try:
            return cls.of(serialization.load_pem_public_key(pem))
        except UnsupportedAlgorithm:
            raise ValueError(f"no {KINDS} key") from None

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Raises :class:`ValueError` for a key of another algorithm."""
        is_p256 = isinstance(key, EcPublicKey) and isinstance(key.curve, SECP256R1)
        if not isinstance(key, Ed25519PublicKey) and not is_p256:
            raise ValueError(f"no {KINDS} key")
        return cls(key)  # type: ignore[arg-type]

    @property
    def algorithm(self) -> Algorithm:
        return "ed25519" if isinstance(self.inner, Ed25519PublicKey) else "ecdsa-p256"

    @property
    def sslib(self) -> SSlibKey:
        """The same key, as securesystemslib checks envelopes with it."""
        return SSlibKey.from_crypto(self.inner)

    def pem(self) -> bytes:
        return self.inner.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify(self, signature: bytes, message: bytes) -> None:
        """ECDSA signatures are in DER. Raises :class:`BadSignature`."""
        try:
            if isinstance(self.inner, Ed25519PublicKey):
                self.inner.verify(signature, message)
            else:
                self.inner.verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature:
            raise BadSignature("the signature does not verify") from None


class SigningKey(Protocol):
    """A private key, which may be on another machine and need not be readable."""

    @property
    def public_key(self) -> PublicKey: ...

    @property
    def is_remote(self) -> bool:
        """Whether :meth:`sign` waits for another machine, and so has no place on an event loop."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature; of ECDSA in DER. A remote key raises :class:`StoreUnavailable` and :class:`Refused`."""
        ...


async def beside(key: SigningKey, sign: Callable[[], T]) -> T:
    """What ``sign`` gives, called off the event loop where the key is on another machine."""
    return await asyncio.to_thread(sign) if key.is_remote else sign()


@dataclass(frozen=True)
class LocalKey:
    """A private key in this process."""

    private_key: Ed25519PrivateKey | EllipticCurvePrivateKey = field(repr=False)
    is_remote: bool = False

    @classmethod
    def generate(cls) -> LocalKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def generate_p256(cls) -> LocalKey:
        return cls(generate_private_key(SECP256R1()))

    @classmethod
    def read(cls, path: Path, given_by: str) -> LocalKey:
        """Read a PEM private key. ``given_by`` is where to name another file. Raises :class:`Refused`."""
        body = read_given(path, "no-signing-key", f"; give a key's file by {given_by}")
        try:
            key = serialization.load_pem_private_key(body, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            why = f"refused: {path} is no PEM private key without a passphrase; give one by {given_by}"
            raise Refused("no-signing-key", why) from None
        is_p256 = isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
        if not isinstance(key, Ed25519PrivateKey) and not is_p256:
            raise Refused("no-signing-key", f"refused: {path} is no {KINDS} key; give one by {given_by}")
        return cls(key)  # type: ignore[arg-type]

    @property
    def public_key(self) -> PublicKey:
        return PublicKey.of(self.private_key.public_key())

    def pem(self) -> bytes:
        """PKCS 8 without a passphrase."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private_key, Ed25519PrivateKey):
            return self.private_key.sign(message)
        return self.private_key.sign(message, ECDSA(SHA256()))
