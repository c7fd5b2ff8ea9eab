"""Defines the records of training, sealed under the tenant's prefix: sets, jobs, leases, and examples left out."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex, TenantName, Traceparent
from schemas.base.integers import Version
from schemas.base.timestamps import Timestamp
from schemas.bus.events import Trigger
from schemas.tenant.hyperparameters import Hyperparameters


class TrainingSetEntry(Contract):
    """One example of a frozen set, with whom and what allowed its use."""

    example_id: OpaqueId
    version: Version
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


class LeftOutExample(Contract):
    """An eligible example that the model or the run's settings cannot take, and a code that says why."""

    example_id: OpaqueId
    version: Version
    code: ReasonCode


class LeftOut(Contract):
    """What one attempt of a run left out, by example id. It has no part in the set, and so none in the weights."""

    examples: tuple[LeftOutExample, ...] = Field(min_length=1)


class JobRecord(Contract):
    """A training command made durable, so that no Kafka offset has to remember it."""

    run_id: OpaqueId
    tenant: TenantName
    trigger: Trigger
    hyperparameters: Hyperparameters
    request_event_id: OpaqueId
    requested_at: Timestamp
    traceparent: Traceparent | None = Field(default=None, description="the trace of what asked for it")


class LeaseRecord(Contract):
    """Who works on a run, until when. Safety comes from the fence, never from the clock."""

    run_id: OpaqueId
    holder: OpaqueId
    fence: int = Field(ge=1)
    expires_at: Timestamp
    seconds: float = Field(gt=0, description="how long a renewal of it lasts")
