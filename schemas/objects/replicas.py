"""Defines the records of serving replicas: leases, and acknowledgements of removals."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName
from schemas.base.timestamps import Timestamp

USED_LAST = 256
"""Tenants that a record names at most: more adapters than a start has time to load."""


class ReplicaRecord(Contract):
    """A serving replica's lease. After ``expires_at`` the replica stops serving adapters by itself.

    Only the process that wrote the record, named by ``incarnation``, renews it, and only over its own last version.
    Setting ``fenced_at`` therefore ends the lease for good: the replica must be restarted.

    ``used_last`` is what the next process of this replica loads ahead, and nothing more of these tenants.

    ``earlier`` names the processes that held the lease before. Each may serve until the end given for it.
    """

    replica_id: OpaqueId
    base_model_digest: Sha256Hex
    started_at: Timestamp
    expires_at: Timestamp
    incarnation: OpaqueId
    earlier: dict[OpaqueId, Timestamp] = Field(
        default={}, description="the end of the lease of each earlier incarnation, the latest last; older ones are over"
    )
    used_last: tuple[TenantName, ...] = Field(
        default=(),
        max_length=USED_LAST,
        description="tenants whose adapters it had loaded when it last renewed, the most recently used first",
    )
    fenced_at: Timestamp | None = None
    fenced_by: OpaqueId | None = Field(default=None, description="the purge or withdrawal that it did not answer")


class ReplicaAcknowledgement(Contract):
    """How a replica that the fence found left the tenant: it evicted, or its lease expired and cannot be renewed."""

    replica_id: OpaqueId
    outcome: Literal["evicted", "expired"]
    at: Timestamp = Field(description="by the replica's clock or, where that is ahead, when the answer came")
    incarnation: OpaqueId | None = Field(
        default=None,
        description="the process that evicted, or whose lease ended; absent: of one that expired without a record",
    )
    receipt_sha256: Sha256Hex | None = None
    prefix_cache_reset: bool | None = Field(
        default=None,
        description="False: others' requests were running; blocks that no other tenant's request can be given stay "
        "there until they are used anew",
    )
    adapters_evicted: int = Field(default=0, ge=0)
    requests_aborted: int = Field(default=0, ge=0)
    lease_ended_at: Timestamp | None = Field(default=None, description="of one that expired")
    fenced_at: Timestamp | None = Field(
        default=None, description="when it was cut off its lease, by this purge or before"
    )


class RetirementAcknowledgement(ReplicaAcknowledgement):
    """How a replica left a retired adapter, with what it signed, which the withdrawal's receipt names by digest."""

    receipt: dict[str, Any] | None = Field(default=None, description="a DSSE envelope")
