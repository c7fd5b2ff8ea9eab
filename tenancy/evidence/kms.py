"""Signs with a key that never leaves AWS KMS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import boto3
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tenancy.errors import Refused
from tenancy.evidence.keys import PublicKey
from tenancy.platform.aws import bounded, configured, kms_answers

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

MESSAGE_BYTES = 4096
ALGORITHM: Literal["ECDSA_SHA_256"] = "ECDSA_SHA_256"
SPEC = "ECC_NIST_P256"
"""KMS signs with its Ed25519 keys (ECC_NIST_EDWARDS25519) messages of up to 4,096 bytes only, which certificates and
manifests exceed; what it offers for longer ones, Ed25519ph, is an algorithm that no verifier of DSSE or JWS knows.
"""


@dataclass(frozen=True)
class KmsKey:
    """An asymmetric key for signatures. ``key_id`` is the ARN that KMS gave: an alias may be moved to another key."""

    client: KMSClient
    key_id: str
    public_key: PublicKey
    is_remote: bool = True

    @classmethod
    def connect(cls, key_id: str, timeout_seconds: float) -> KmsKey:
        """Ask KMS for the public half. Credentials come from boto3's own chain, and the region does where ``key_id`` is
        no ARN. Raises :class:`Refused` and :class:`StoreUnavailable`.
        """
        arn = key_id.split(":")
        region = arn[3] if arn[:1] == ["arn"] and len(arn) == 6 else None
        with configured("KMS"):
            client = boto3.client("kms", region_name=region, config=bounded(timeout_seconds))
        return cls.of(client, key_id)

    @classmethod
    def of(cls, client: KMSClient, key_id: str) -> KmsKey:
        """As :meth:`connect`, with a client."""
        with kms_answers():
            answer = client.get_public_key(KeyId=key_id)
        public = load_der_public_key(bytes(answer["PublicKey"]))
        if ALGORITHM not in answer.get("SigningAlgorithms", ()) or not isinstance(public, EllipticCurvePublicKey):
            raise Refused("bad-kms-key", f"refused: the KMS key is no key for signatures of the spec {SPEC}; make one")
        return cls(client, str(answer["KeyId"]), PublicKey.of(public))

    def sign(self, message: bytes) -> bytes:
        """Of a message that is too long for KMS the digest is sent, which makes the same signature."""
        kind: Literal["RAW", "DIGEST"] = "RAW"
        if len(message) > MESSAGE_BYTES:
            message, kind = hashlib.sha256(message).digest(), "DIGEST"
        with kms_answers():
            answer = self.client.sign(KeyId=self.key_id, Message=message, MessageType=kind, SigningAlgorithm=ALGORITHM)
        return bytes(answer["Signature"])
