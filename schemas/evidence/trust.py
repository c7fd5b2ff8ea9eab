"""Defines the trust file: which public key verifies what, and when. One key has one purpose.

The file is the predicate of an in-toto Statement in a DSSE envelope, signed by the root key of the installation, which
signs nothing else.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from schemas.base.contract import Contract
from schemas.base.identifiers import EventTypeName, ReasonCode, Sha256Hex, TenantName
from schemas.base.integers import Version
from schemas.base.timestamps import Timestamp
from schemas.evidence.audit import CHECKPOINT_PREDICATE
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import (
    EVICTION_PREDICATE,
    PURGE_PREDICATE,
    TRAINING_PREDICATE,
    WITHDRAWAL_PREDICATE,
)

TRUST_PREDICATE = "urn:sanolith:predicate:trust:v1"

Algorithm = Literal["ed25519", "ecdsa-p256"]


class DocumentKind(NamedTuple):
    """Which key signs a kind of document, and which field of its predicate says when it was signed."""

    purpose: Purpose
    time: str


DOCUMENTS: dict[str, DocumentKind] = {
    TRAINING_PREDICATE: DocumentKind(Purpose.MANIFEST, "finished_at"),
    EVICTION_PREDICATE: DocumentKind(Purpose.RECEIPT, "evicted_at"),
    CHECKPOINT_PREDICATE: DocumentKind(Purpose.AUDIT, "signed_at"),
    PURGE_PREDICATE: DocumentKind(Purpose.CERTIFICATE, "completed_at"),
    WITHDRAWAL_PREDICATE: DocumentKind(Purpose.CERTIFICATE, "closed_at"),
}
"""By predicate type. The trust file itself is not among them: the root key signs it."""


SIGNS: dict[str, tuple[Purpose, ...]] = {
    "operators": (Purpose.TOKEN, Purpose.EVENT),
    "review": (Purpose.EVENT,),
    "curation": (Purpose.EVENT,),
    "training": (Purpose.MANIFEST, Purpose.EVENT),
    "adapters": (Purpose.CERTIFICATE, Purpose.EVENT),
    "export": (Purpose.EVENT,),
    "knowledge": (Purpose.EVENT,),
    "purge": (Purpose.CERTIFICATE, Purpose.AUDIT, Purpose.EVENT),
    "ledger": (Purpose.AUDIT, Purpose.EVENT),
    "inference": (Purpose.RECEIPT, Purpose.EVENT),
}
"""The private keys that each of ours has, and no others. Its event key is its own alone."""


TRUST_FILE = "trust.json"
ROOT_FILE = "root.pem"
ROOT_PUBLIC_FILE = "root.pub.pem"


def key_file(folder: Path, purpose: Purpose, publisher: str) -> Path:
    """Where a private key lies in a folder of keys. Event keys are their publisher's."""
    return folder / (f"{purpose}-{publisher}.pem" if purpose is Purpose.EVENT else f"{purpose}.pem")


class SpeaksFor(Contract):
    """Who publishes with an event key, and about what: a service, the operators, or a publisher from outside."""

    publisher: ReasonCode
    tenants: tuple[TenantName, ...] | None = Field(default=None, description="absent: every tenant")
    event_types: tuple[EventTypeName, ...] | None = Field(
        default=None, description="absent: those that schemas/bus/publishers.py names for this publisher"
    )


class TrustedKey(Contract):
    """One public key. ``valid_until`` and ``revoked_at`` bound when it may have signed, not when that is verified."""

    key_id: Sha256Hex = Field(description="as in DSSE envelopes and in the kid of a JWS: a digest of the public key")
    purpose: Purpose
    algorithm: Algorithm
    public_key: str = Field(description="SubjectPublicKeyInfo, PEM", max_length=1000)
    valid_from: Timestamp
    valid_until: Timestamp | None = Field(default=None, description="what it signs later does not count")
    revoked_at: Timestamp | None = Field(
        default=None, description="the earliest time at which somebody else may have had the private key"
    )
    speaks_for: SpeaksFor | None = Field(default=None, description="of event keys, and of these always")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.purpose is Purpose.EVENT) != (self.speaks_for is not None):
            raise ValueError("event keys name whom they speak for, and no others do")
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise ValueError("a key ends before it begins")
        return self


class TrustFile(Contract):
    """Every key that this installation has had. Keys are added and ended, never taken out."""

    version: Version = Field(description="higher than that of every file before it")
    issued_at: Timestamp
    keys: tuple[TrustedKey, ...]

    @model_validator(mode="after")
    def _each_key_once(self) -> Self:
        """One key under two purposes would be a key of both."""
        if max(Counter(key.key_id for key in self.keys).values(), default=0) > 1:
            raise ValueError("a key is listed twice")
        return self


def trust_subject(file_sha256: str) -> dict[str, str]:
    """What a trust file is about: the digest of its own content."""
    return {"trust": file_sha256}
