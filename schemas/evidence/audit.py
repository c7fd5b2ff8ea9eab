"""Defines a tenant's audit log: hash-chained entries, and checkpoints that sign the chain.

An entry is stored as its canonical JSON (RFC 8785), alone or as a line of a segment of several, and its hash is the
SHA-256 of those bytes. It holds opaque ids,
digests, salted commitments and reason codes. External names, of reviewers, examples and consents, are replaced by
pseudonyms: HMACs under a key that dies with the tenant's data key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base.canonical import canonical_json, sha256_hex
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName
from schemas.base.timestamps import Timestamp

AUDIT_DOMAIN: Literal["sanolith.audit.v1"] = "sanolith.audit.v1"
CHECKPOINT_PREDICATE = "urn:sanolith:predicate:audit-checkpoint:v1"

CHECKPOINT_ENTRIES = 256
"""A tenant's log is signed at once when this many entries are unsigned, unless settings say otherwise."""
CHECKPOINT_SECONDS = 900.0
"""No entry stays unsigned longer, unless settings say otherwise."""
SIGNED_AT_ONCE = ("purge.fenced", "purge.completed")
"""Kinds of entries that are signed as soon as they are entered: the fence ends a tenant's life."""

CONTRADICTED = "event.contradicted"
"""The kind of an entry about an event that the tenant's state or an earlier entry contradicts."""
UNCONFIRMED = "event.unconfirmed"
"""The kind of an entry about an event that can no longer be confirmed: the evidence was purged."""
DOUBTED = (CONTRADICTED, UNCONFIRMED)
REFUSED = ("event.refused", "event.dead_lettered")
"""Kinds of entries about an event that its consumer did not act on."""

UNLINKABLE = "unlinkable"
"""Stands where a pseudonym would, once the key to compute it is gone."""

# No space and no letter beyond ASCII: a sentence cannot pass for a fact.
FactName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
FactText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:+/-]{1,200}$")]
AuditKind = Annotated[str, StringConstraints(pattern=r"^[a-z_]+\.[a-z_]+$")]


class Actor(Contract):
    """Who decided or did it. An operator's id is as given; a reviewer's is a pseudonym."""

    role: Literal["operator", "reviewer", "replica", "service"]
    id: OpaqueId


class AuditEntry(Contract):
    """One decision or effect. ``previous`` is the hash of the entry before it, or :func:`genesis`."""

    format: Literal["sanolith.audit.v1"] = AUDIT_DOMAIN
    tenant: TenantName
    seq: int = Field(ge=1)
    previous: Sha256Hex
    tag: OpaqueId = Field(description="random; what tells this entry from every other, and says nothing else")
    kind: AuditKind
    time: Timestamp = Field(description="when it was decided or done, by the clock of who says so")
    recorded_at: Timestamp = Field(description="when it was entered, by the clock of who entered it")
    recorded_while: Literal["active", "purging", "purged"] = Field(description="the tenant's status at that time")
    actor: Actor
    facts: dict[FactName, FactText | int]


class AuditCheckpoint(Contract):
    """The statement that a signature makes about a log: its first ``seq`` entries end in ``entry_sha256``.

    ``previous`` is the SHA-256 of the envelope of the checkpoint before, or :func:`genesis`.
    """

    tenant: TenantName
    number: int = Field(ge=1)
    seq: int = Field(ge=1)
    entry_sha256: Sha256Hex
    previous: Sha256Hex
    signed_at: Timestamp


class CheckpointRef(Contract):
    """Which checkpoint: enough to name it in a certificate and to find it again."""

    number: int = Field(ge=1)
    seq: int = Field(ge=1)
    sha256: Sha256Hex


class AuditHead(Contract):
    """Where a log ends: a hint, not evidence. It may lag behind, and then costs a read for each entry it missed."""

    seq: int = Field(default=0, ge=0)
    entry_sha256: Sha256Hex
    moved_at: Timestamp | None = Field(default=None, description="when it was last moved forward")
    checkpoint: CheckpointRef | None = None

    @property
    def unsigned(self) -> int:
        """How many entries no checkpoint covers yet."""
        return self.seq - (self.checkpoint.seq if self.checkpoint else 0)


class AuditClaim(Contract):
    """Which tag an occurrence has in the log, and at which position the object is that holds it, or is to hold it."""

    tag: OpaqueId
    position: int = Field(ge=1)


def genesis(tenant: str) -> str:
    """What the first entry and the first checkpoint of a tenant follow."""
    return sha256_hex({"domain": AUDIT_DOMAIN, "tenant": tenant})


def entry_bytes(entry: AuditEntry) -> bytes:
    """The bytes that are stored and hashed."""
    return canonical_json(entry.model_dump(mode="json"))


def segment_bytes(lines: Sequence[bytes]) -> bytes:
    """The object that holds these entries, one a line. Canonical JSON has no line break of its own."""
    return b"\n".join(lines)


def segment_lines(body: bytes) -> list[bytes]:
    """The bytes of each entry of an object."""
    return body.split(b"\n")


def body_sha256(body: bytes) -> str:
    """The hash of an entry or checkpoint as it is stored."""
    return hashlib.sha256(body).hexdigest()
