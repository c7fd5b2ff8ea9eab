"""The records that lie sealed under a tenant's prefix, and those of replicas and purges."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.hyperparameters import Hyperparameters
from schemas.identifiers import OpaqueId, ReasonCode, Sha256Hex, TenantName
from schemas.model import Contract


class ExampleRecord(Contract):
    """The latest decision on an example. ``withdrawn`` is for ever; otherwise the higher version wins."""

    example_id: OpaqueId
    version: int = Field(ge=0, description="0: withdrawn before any decision was seen")
    status: Literal["approved", "rejected", "withdrawn"]
    decided_at: datetime
    event_id: OpaqueId
    reviewer_id: OpaqueId | None = None
    consent_id: OpaqueId | None = None
    commitment: Sha256Hex | None = None
    reason_code: ReasonCode | None = None


class ConsentRecord(Contract):
    """The latest word on a consent."""

    consent_id: OpaqueId
    version: int = Field(default=0, ge=0)
    granted: bool = False
    event_id: OpaqueId | None = None
    decided_at: datetime | None = None


class WaitingExample(Contract):
    """An example that was approved while there was no consent, or lost it: it counts once consent is granted.

    One object each, since one consent may cover any number of examples.
    """

    example_id: OpaqueId
    consent_id: OpaqueId


class TrainingSetEntry(Contract):
    """One example of a frozen set, with whom and what allowed its use."""

    example_id: OpaqueId
    version: int = Field(ge=1)
    commitment: Sha256Hex
    reviewer_id: OpaqueId
    approval_event_id: OpaqueId
    consent_id: OpaqueId | None
    consent_event_id: OpaqueId | None


class TrainingSet(Contract):
    """Exactly what one run trains on, ordered by example id. Its id is the digest of tenant and entries."""

    set_id: Sha256Hex
    tenant: TenantName
    entries: tuple[TrainingSetEntry, ...] = Field(min_length=1)


class JobRecord(Contract):
    """A training command made durable, so that no Kafka offset has to remember it."""

    run_id: OpaqueId
    tenant: TenantName
    trigger: Literal["policy", "operator"]
    hyperparameters: Hyperparameters
    request_event_id: OpaqueId
    requested_at: datetime


class LeaseRecord(Contract):
    """Who works on a run, until when. Safety comes from the fence, never from the clock."""

    run_id: OpaqueId
    holder: OpaqueId
    fence: int = Field(ge=1)
    expires_at: datetime


class ReplicaRecord(Contract):
    """A serving replica's lease. After ``expires_at`` it serves no adapter any more, by itself."""

    replica_id: OpaqueId
    base_model_digest: Sha256Hex
    started_at: datetime
    expires_at: datetime


class Residue(Contract):
    """What a listing of a prefix finds: nothing may be left of a purged tenant."""

    versions: int = Field(ge=0)
    delete_markers: int = Field(ge=0)
    uploads: int = Field(ge=0)

    @property
    def total(self) -> int:
        return self.versions + self.delete_markers + self.uploads


class ReplicaAcknowledgement(Contract):
    """How a replica that was alive at the fence left the tenant: it evicted, or its lease expired."""

    replica_id: OpaqueId
    outcome: Literal["evicted", "expired"]
    at: datetime
    receipt_sha256: Sha256Hex | None = None


class PurgeRecord(Contract):
    """A purge in progress. Every step is idempotent, so that any process can take it further."""

    purge_id: OpaqueId
    tenant: TenantName
    step: Literal["fenced", "shredded", "evicted", "deleted", "verified", "certified"]
    requested_at: datetime
    requested_by: OpaqueId
    reason_code: ReasonCode
    fenced_at: datetime
    deadline: datetime
    settled_at: datetime = Field(description="no writer that was alive at the fence can still write after this")
    replicas: tuple[OpaqueId, ...] = Field(default=(), description="alive at the fence")
    acknowledgements: tuple[ReplicaAcknowledgement, ...] = ()
    key_destroyed_at: datetime | None = None
    objects_removed: int = Field(default=0, ge=0)
    versions_removed: int = Field(default=0, ge=0)
    verified_at: tuple[datetime, ...] = Field(default=(), description="when the prefixes were listed and found empty")
