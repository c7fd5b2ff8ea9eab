"""Wraps each tenant's data key by the master key: AWS KMS in production, a key file locally."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import boto3
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenancy.errors import Refused, SealBroken
from tenancy.platform.aws import bounded, configured, kms_answers, said
from tenancy.platform.secret_files import read_secret

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

NONCE_BYTES = 12

_NOT_OURS = {"InvalidCiphertextException", "IncorrectKeyException"}
"""The bytes were changed, or wrapped for another tenant or by another key of this account."""


class MasterKey(Protocol):
    """Wraps and unwraps data keys, bound to the tenant.

    Both may raise :class:`StoreUnavailable`, and :class:`Refused` as ``kms-refused`` for what KMS does not let this
    installation do: rights, or the state of the master key, which somebody may put right.
    """

    @property
    def key_id(self) -> str: ...

    def wrap(self, tenant: str, data_key: bytes) -> bytes: ...

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        """Raises :class:`SealBroken` for another tenant's or another master key's bytes."""
        ...


@dataclass(frozen=True)
class KeyFileMasterKey:
    """AES-256-GCM under 32 bytes from a file that only its owner may read."""

    key: bytes = field(repr=False)
    key_id: str = "key-file"

    @classmethod
    def read(cls, path: Path) -> KeyFileMasterKey:
        """Read a base64 key file. Raises :class:`Refused` when it is missing, readable by others or not a key."""
        if not path.is_file():
            raise Refused("no-master-key", f"refused: no master key file at {path}; set SANO_MASTER_KEY_FILE")
        return cls(read_secret(path, "master-key"))

    def wrap(self, tenant: str, data_key: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, data_key, tenant.encode())

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], tenant.encode())
        except (InvalidTag, ValueError):
            raise SealBroken("the data key is wrapped for another tenant or by another master key") from None


@dataclass(frozen=True)
class KmsMasterKey:
    """AWS KMS. The tenant is the encryption context, so that KMS itself refuses to unwrap for another tenant."""

    client: KMSClient
    key_id: str

    @classmethod
    def connect(cls, key_id: str, timeout_seconds: float) -> KmsMasterKey:
        """With bounded waits; credentials come from boto3's own chain, and the region does where ``key_id`` is no ARN.

        Raises :class:`Refused`.
        """
        arn = key_id.split(":")
        region = arn[3] if arn[:1] == ["arn"] and len(arn) == 6 else None
        with configured("KMS"):
            return cls(boto3.client("kms", region_name=region, config=bounded(timeout_seconds)), key_id)

    def wrap(self, tenant: str, data_key: bytes) -> bytes:
        with _translated():
            answer = self.client.encrypt(
                KeyId=self.key_id, Plaintext=data_key, EncryptionContext={"sano:tenant": tenant}
            )
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, tenant: str, wrapped: bytes) -> bytes:
        with _translated():
            answer = self.client.decrypt(
                KeyId=self.key_id, CiphertextBlob=wrapped, EncryptionContext={"sano:tenant": tenant}
            )
        return bytes(answer["Plaintext"])


@contextmanager
def _translated() -> Iterator[None]:
    """As :func:`kms_answers`, and :class:`SealBroken` for bytes that are not this key's.

    Rights and the state of the key say nothing about the bytes: a slip there must not be laid to every event. AWS
    answers AccessDenied also for what a key of another account wrapped, which only a foreign ``key.json`` could hold;
    that then waits for its operator like any other refusal.
    """
    with kms_answers():
        try:
            yield
        except ClientError as error:
            if (code := said(error)[0]) in _NOT_OURS:
                raise SealBroken(f"KMS answered {code}") from None
            raise
