"""Every event type of DESIGN section 4: its data, its topic and its natural key.

The natural key is what makes two publications the same event: with type and tenant it determines ``ce_id``.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.content import Committed
from schemas.hyperparameters import Hyperparameters
from schemas.identifiers import (
    SHA256_PATTERN,
    Delivery,
    EventTypeName,
    KeyThumbprint,
    OpaqueId,
    PurgeId,
    ReasonCode,
    Sha256Hex,
)
from schemas.model import Contract
from schemas.moments import Moment
from schemas.numbers import Amount, Count, Ordinal, Version
from schemas.outcome import Outcome
from schemas.policy import TenantPolicy

TENANTS = "sano.tenants.v1"
CURATION = "sano.curation.v1"
TRAINING = "sano.training.v1"
ADAPTERS = "sano.adapters.v1"
REPLICAS = "sano.replicas.v1"
KNOWLEDGE = "sano.knowledge.v1"
USAGE = "sano.usage.v1"
OUTCOMES = "sano.outcomes.v1"

Trigger = Literal["policy", "operator"]
"""Who asks for a training."""
UsageSource = Literal["inference", "training", "storage"]

EVENT_TYPES: dict[str, type[EventData]] = {}


class EventData(Contract):
    """Base of all event data. Subclasses name their type and topic and say what their natural key is."""

    type: ClassVar[str]
    topic: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        EVENT_TYPES[cls.type] = cls

    def natural_key(self) -> str:
        """What identifies this occurrence among the tenant's events of this type."""
        raise TypeError(f"{type(self).__name__} does not say what its natural key is")


# --- sano.tenants.v1


class TenantOnboarded(EventData):
    """A tenant exists: its state, data key and key pair were created before this was published."""

    type = "sano.tenant.onboarded"
    topic = TENANTS

    policy: TenantPolicy
    public_key_thumbprint: KeyThumbprint = Field(
        description="RFC 7638 thumbprint of the key to encrypt inline content to"
    )
    requested_by: OpaqueId | None = Field(default=None, description="the operator who asked; absent: nobody did")

    def natural_key(self) -> str:
        return "onboarded"


class TenantChurned(EventData):
    """The contract ended. A purge follows by itself."""

    type = "sano.tenant.churned"
    topic = TENANTS

    requested_by: OpaqueId

    def natural_key(self) -> str:
        return "churned"


class ExportRequested(EventData):
    """The tenant asks for its adapter, with manifest and list of examples."""

    type = "sano.export.requested"
    topic = TENANTS

    export_id: OpaqueId
    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: the active adapter")
    requested_by: OpaqueId

    def natural_key(self) -> str:
        return self.export_id


class ExportReady(EventData):
    """The export lies sealed under the tenant's ``exports/<id>/``."""

    type = "sano.export.ready"
    topic = TENANTS

    export_id: OpaqueId
    adapter_digest: Sha256Hex
    files: tuple[OpaqueId, ...]

    def natural_key(self) -> str:
        return self.export_id


class ExportAcknowledged(EventData):
    """The tenant has taken the export and found it whole. A purge that made it for the tenant need not wait longer."""

    type = "sano.export.acknowledged"
    topic = TENANTS

    export_id: OpaqueId
    adapter_digest: Sha256Hex
    acknowledged_by: OpaqueId

    def natural_key(self) -> str:
        return self.export_id


class PurgeRequested(EventData):
    """A command: remove everything of this tenant. It is safe at any time and in any order."""

    type = "sano.purge.requested"
    topic = TENANTS

    purge_id: PurgeId
    reason_code: ReasonCode
    requested_by: OpaqueId

    def natural_key(self) -> str:
        return self.purge_id


class PurgeFenced(EventData):
    """From here on nothing can create data for the tenant. Replicas evict and acknowledge."""

    type = "sano.purge.fenced"
    topic = TENANTS

    purge_id: PurgeId
    fenced_at: Moment
    deadline: Moment

    def natural_key(self) -> str:
        return self.purge_id


class PurgeCompleted(EventData):
    """The purge is certified."""

    type = "sano.purge.completed"
    topic = TENANTS

    purge_id: PurgeId
    objects_removed: Count
    residual: Count
    certificate_sha256: Sha256Hex

    def natural_key(self) -> str:
        return self.purge_id


class PurgeAtRisk(EventData):
    """A share of the deletion SLA has passed and the purge is not certified."""

    type = "sano.purge.at_risk"
    topic = TENANTS

    purge_id: PurgeId
    percent: Literal[50, 80]

    def natural_key(self) -> str:
        return f"{self.purge_id}|{self.percent}"


class PurgeOverdue(EventData):
    """The deletion SLA has passed and the purge is not certified."""

    type = "sano.purge.overdue"
    topic = TENANTS

    purge_id: PurgeId

    def natural_key(self) -> str:
        return self.purge_id


# --- sano.curation.v1


class ExampleApproved(EventData):
    """A reviewer approved this exact version of an example."""

    type = "sano.example.approved"
    topic = CURATION

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    consent_id: OpaqueId | None = None
    content: Committed

    def natural_key(self) -> str:
        return f"{self.example_id}|{self.version}"


class ExampleRejected(EventData):
    """A reviewer rejected this version. A later version may be approved."""

    type = "sano.example.rejected"
    topic = CURATION

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return f"{self.example_id}|{self.version}"


class ExampleWithdrawn(EventData):
    """The example must not be used any more, in any version, for ever."""

    type = "sano.example.withdrawn"
    topic = CURATION

    example_id: OpaqueId
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return self.example_id


class ConsentGranted(EventData):
    """Consent to train exists from this version on."""

    type = "sano.consent.granted"
    topic = CURATION

    consent_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.consent_id}|{self.version}"


class ConsentRevoked(EventData):
    """Consent to train ended with this version."""

    type = "sano.consent.revoked"
    topic = CURATION

    consent_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.consent_id}|{self.version}"


# --- sano.training.v1


class TrainingRequested(EventData):
    """A command: train an adapter from the tenant's eligible examples."""

    type = "sano.training.requested"
    topic = TRAINING

    run_id: OpaqueId
    trigger: Trigger
    hyperparameters: Hyperparameters | None = Field(default=None, description="absent: the tenant policy's")
    requested_by: OpaqueId | None = Field(default=None, description="the operator who asked; absent: nobody did")

    def natural_key(self) -> str:
        return self.run_id


class TrainingStarted(EventData):
    """A worker holds the lease with this fencing number."""

    type = "sano.training.started"
    topic = TRAINING

    run_id: OpaqueId
    fence: Ordinal

    def natural_key(self) -> str:
        return f"{self.run_id}|{self.fence}"


class TrainingCompleted(EventData):
    """The run's adapter is published."""

    type = "sano.training.completed"
    topic = TRAINING

    run_id: OpaqueId
    fence: Ordinal
    training_set_id: Sha256Hex
    adapter_digest: Sha256Hex

    def natural_key(self) -> str:
        return self.run_id


class TrainingRejected(EventData):
    """The run cannot be done as asked; trying again would not help."""

    type = "sano.training.rejected"
    topic = TRAINING

    run_id: OpaqueId
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return self.run_id


class TrainingFailed(EventData):
    """Every allowed attempt failed."""

    type = "sano.training.failed"
    topic = TRAINING

    run_id: OpaqueId
    attempts: Ordinal
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return self.run_id


# --- sano.adapters.v1


class AdapterReady(EventData):
    """The adapter's files lie sealed under ``adapters/<digest>/`` with a signed manifest."""

    type = "sano.adapter.ready"
    topic = ADAPTERS

    adapter_digest: Sha256Hex
    run_id: OpaqueId
    base_model_digest: Sha256Hex
    size_bytes: Ordinal

    def natural_key(self) -> str:
        return self.adapter_digest


class AdapterActivated(EventData):
    """The tenant's ``active`` requests are answered by this adapter; its ``activation``-th change of adapter."""

    type = "sano.adapter.activated"
    topic = ADAPTERS

    adapter_digest: Sha256Hex
    previous_digest: Sha256Hex | None
    activation: Ordinal
    requested_by: OpaqueId | None = Field(default=None, description="the operator who asked; absent: nobody did")

    def natural_key(self) -> str:
        return f"{self.adapter_digest}|{self.activation}"


class AdapterRolledBack(EventData):
    """The tenant returned to an earlier adapter, or to the base model when ``adapter_digest`` is absent: an operator
    asked for that, or the active adapter was retired.
    """

    type = "sano.adapter.rolledback"
    topic = ADAPTERS

    adapter_digest: Sha256Hex | None
    previous_digest: Sha256Hex
    activation: Ordinal
    requested_by: OpaqueId | None = Field(default=None, description="the operator who asked; absent: nobody did")

    def natural_key(self) -> str:
        return f"{self.previous_digest}|{self.activation}"


class AdapterRetired(EventData):
    """The adapter is served no more. Replicas evict it and acknowledge."""

    type = "sano.adapter.retired"
    topic = ADAPTERS

    adapter_digest: Sha256Hex
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return self.adapter_digest


# --- sano.replicas.v1


class ReplicaRegistered(EventData):
    """A serving replica started. Its subject is the replica, not a tenant."""

    type = "sano.replica.registered"
    topic = REPLICAS

    replica_id: OpaqueId
    base_model_digest: Sha256Hex

    def natural_key(self) -> str:
        return self.replica_id


class ReplicaEvicted(EventData):
    """A replica's signed acknowledgement that it holds nothing of the tenant, or not this adapter."""

    type = "sano.replica.evicted"
    topic = REPLICAS

    replica_id: OpaqueId
    cause_id: OpaqueId = Field(description="the purge id, or the digest of the retired adapter")
    receipt: dict[str, Any] = Field(description="DSSE envelope around an in-toto Statement, Ed25519")

    def natural_key(self) -> str:
        return f"{self.replica_id}|{self.cause_id}"

    @property
    def names_an_adapter(self) -> bool:
        """Whether the cause can be a retirement. It can be a purge all the same, whose id has the shape of a digest."""
        return re.fullmatch(SHA256_PATTERN, self.cause_id) is not None


# --- sano.knowledge.v1


class DocumentUpserted(EventData):
    """A document of facts that change, for the tenant's retrieval."""

    type = "sano.document.upserted"
    topic = KNOWLEDGE

    document_id: OpaqueId
    version: Version
    content: Committed

    def natural_key(self) -> str:
        return f"{self.document_id}|{self.version}"


class DocumentRemoved(EventData):
    """The document must not be retrieved any more."""

    type = "sano.document.removed"
    topic = KNOWLEDGE

    document_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.document_id}|{self.version}"


# --- sano.usage.v1, sano.outcomes.v1


class UsageRecorded(EventData):
    """What a tenant used: the base of its cost."""

    type = "sano.usage.recorded"
    topic = USAGE

    usage_id: OpaqueId
    source: UsageSource
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    training_tokens: Count = 0
    engine_seconds: Amount = 0.0
    gpu_seconds: Amount = Field(default=0.0, description="no service of this release measures it")
    bytes_stored: Count = Field(
        default=0, description="bytes that this use wrote; no event takes them off when they are erased"
    )

    def natural_key(self) -> str:
        return self.usage_id


class OutcomeRecorded(EventData):
    """What one consumer's handling of one event came to."""

    type = "sano.outcome.recorded"
    topic = OUTCOMES

    event_id: OpaqueId
    event_type: EventTypeName
    consumer: OpaqueId
    outcome: Outcome
    delivery: Delivery = Field(description="<topic>/<partition>/<offset> of the handled message")
    replay_id: OpaqueId | None = None

    def natural_key(self) -> str:
        return f"{self.consumer}|{self.event_id}|{self.delivery}"
