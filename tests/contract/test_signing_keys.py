"""A private key signs what its public half verifies, wherever it is: in a file, or in AWS KMS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import PURGE_PREDICATE
from tenancy.errors import BadSignature, Refused, StoreUnavailable
from tenancy.evidence.jws import Jws, compact_jws
from tenancy.evidence.keys import LocalKey, SigningKey
from tenancy.evidence.kms import KmsKey
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust
from tests.fixtures.all_keys import entry

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

LONG = "x" * 20_000
"""More than KMS takes in one message."""


class AsDocumented:
    """KMS as AWS documents it. moto takes a digest for the message itself."""

    def __init__(self) -> None:
        self.key = LocalKey.generate_p256()

    def get_public_key(self, **_: Any) -> dict[str, Any]:
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        public = self.key.public_key.inner.public_bytes(*form)
        return {"KeyId": "arn", "PublicKey": public, "SigningAlgorithms": ["ECDSA_SHA_256"]}

    def sign(self, *, Message: bytes, MessageType: str, **_: Any) -> dict[str, Any]:
        assert len(Message) <= 4096
        assert isinstance(self.key.private_key, EllipticCurvePrivateKey)
        how = Prehashed(SHA256()) if MessageType == "DIGEST" else SHA256()
        return {"Signature": self.key.private_key.sign(Message, ECDSA(how))}


@pytest.fixture(params=["file-ed25519", "file-p256", "kms", "kms-as-documented"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> SigningKey:
    if request.param == "kms":
        client: KMSClient = request.getfixturevalue("kms_key_client")
        made = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        return KmsKey.of(client, made["KeyMetadata"]["KeyId"])
    if request.param == "kms-as-documented":
        documented: Any = AsDocumented()
        return KmsKey.of(documented, "k")
    made_here = LocalKey.generate() if request.param == "file-ed25519" else LocalKey.generate_p256()
    (tmp_path / "key.pem").write_bytes(made_here.pem())
    return LocalKey.read(tmp_path / "key.pem", "--key")


def text(key: SigningKey) -> str:
    is_moto = isinstance(key, KmsKey) and not isinstance(key.client, AsDocumented)
    return LONG[:2000] if is_moto else LONG


def test_what_it_signs_its_public_half_verifies_and_nothing_else(key: SigningKey) -> None:
    message = text(key).encode()
    signature = key.sign(message)
    key.public_key.verify(signature, message)
    for other_signature, other_message in ((signature, message + b"x"), (key.sign(b"other"), message), (b"", message)):
        with pytest.raises(BadSignature):
            key.public_key.verify(other_signature, other_message)


def test_documents_and_jws_of_it_verify_by_the_trust_file(key: SigningKey) -> None:
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [],
        "predicateType": PURGE_PREDICATE,
        "predicate": {"completed_at": "2026-03-01T12:00:00+00:00", "said": text(key)},
    }
    signer = Signer.of(Purpose.CERTIFICATE, key)
    envelope = asyncio.run(signer.signed(said))
    trust = Trust.of(entry(key.public_key, Purpose.CERTIFICATE))
    assert trust.verified(envelope, PURGE_PREDICATE) == (said, key.public_key.key_id)
    with pytest.raises(BadSignature):
        Trust.of(entry(key.public_key, Purpose.RECEIPT)).verify(envelope, PURGE_PREDICATE)
    jws = Jws.parse(compact_jws(signer.key, "sano+event", b"said"))
    jws.verify("sano+event", key.public_key)
    assert jws.payload == b"said"


@pytest.mark.parametrize(
    ("spec", "usage"), [("ECC_NIST_P384", "SIGN_VERIFY"), ("RSA_2048", "SIGN_VERIFY"), ("RSA_2048", "ENCRYPT_DECRYPT")]
)
def test_a_kms_key_of_another_kind_is_refused_before_it_signs(kms_key_client: KMSClient, spec: Any, usage: Any) -> None:
    made = kms_key_client.create_key(KeySpec=spec, KeyUsage=usage)
    with pytest.raises(Refused, match="ECC_NIST_P256"):
        KmsKey.of(kms_key_client, made["KeyMetadata"]["KeyId"])


class Failing:
    """KMS in trouble."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_public_key(self, **_: Any) -> Any:
        raise self.error

    sign = get_public_key


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="http://kms"), StoreUnavailable),
        (ClientError({"Error": {"Code": "ThrottlingException", "Message": "canary"}}, "Sign"), StoreUnavailable),
        (ClientError({"Error": {"Code": "AccessDeniedException", "Message": "canary"}}, "Sign"), Refused),
    ],
)
def test_what_kms_answers_says_whether_to_try_again(error: Exception, kind: type[Exception]) -> None:
    client: Any = Failing(error)
    for ask in (lambda: KmsKey.of(client, "k"), lambda: KmsKey(client, "k", LocalKey.generate().public_key).sign(b"x")):
        with pytest.raises(kind) as refused:
            ask()
        assert "canary" not in str(refused.value)
