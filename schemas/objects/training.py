"""Defines the records of training, sealed under the tenant's prefix: sets, jobs, leases, and examples left out."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex, TenantName, Traceparent
from schemas.base.integers import Count, Version
from schemas.base.timestamps import Timestamp
from schemas.bus.events import Trigger
from schemas.bus.redaction import GateVerdict
from schemas.tenant.hyperparameters import Hyperparameters


class EligibleExample(Contract):
    """An example that may be trained on now, with whom and what allowed its use."""

    example_id: OpaqueId
    version: Version
    commitment: Sha256Hex
    reviewer_id: OpaqueId
    approval_event_id: OpaqueId
    consent_id: OpaqueId | None
    consent_event_id: OpaqueId | None
    stated_by: OpaqueId | None = Field(default=None, description="operator who states that it was reviewed elsewhere")
    approval_gate: GateVerdict | None = Field(
        default=None, description="as it was approved; absent: no gate of ours had seen the text then"
    )


class TrainingSetEntry(EligibleExample):
    """One example of a frozen set."""

    gate: GateVerdict = Field(description="when the set was frozen")


class TrainingSet(Contract):
    """Exactly what one run trains on, ordered by example id. Its id is the digest of tenant and entries."""

    set_id: Sha256Hex
    tenant: TenantName
    entries: tuple[TrainingSetEntry, ...] = Field(min_length=1)


class LeftOutExample(Contract):
    """An example that is not in a frozen set, and a code that says why."""

    example_id: OpaqueId
    version: Count = Field(description="0: withdrawn before any decision was seen")
    code: ReasonCode


class LeftOut(Contract):
    """The eligible examples that one attempt of a run left out. They have no part in the set, nor in the weights."""

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
