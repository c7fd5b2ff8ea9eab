"""Defines the records of purges: what was found and removed, who confirmed it, and when warnings were due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import (
    OpaqueId,
    PurgeId,
    ReasonCode,
    Sha256Hex,
    SubcontractorName,
    TenantName,
    Traceparent,
)
from schemas.base.timestamps import Timestamp
from schemas.bus.retention import Retention
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.tenant.holds import LegalHold


class Residue(Contract):
    """What a listing of a prefix finds: nothing may be left of a purged tenant."""

    versions: int = Field(ge=0)
    delete_markers: int = Field(ge=0)
    uploads: int = Field(ge=0)
    size_bytes: int = Field(default=0, ge=0, description="as in StoreCount")

    @property
    def total(self) -> int:
        return self.versions + self.delete_markers + self.uploads


class StoreCount(Contract):
    """What a listing found in one store of the registry: distinct keys, and what they consist of."""

    store: str
    objects: int = Field(default=0, ge=0)
    versions: int = Field(default=0, ge=0)
    delete_markers: int = Field(default=0, ge=0)
    uploads: int = Field(default=0, ge=0)
    size_bytes: int = Field(
        default=0,
        ge=0,
        description="of the versions as they are stored, sealed ones with their seal; the parts of an open multipart "
        "upload are not in it, since no listing of uploads gives sizes",
    )

    @property
    def total(self) -> int:
        return self.versions + self.delete_markers + self.uploads

    def __add__(self, other: StoreCount) -> StoreCount:
        """Both counts of one store as one."""
        return StoreCount(
            store=self.store,
            objects=self.objects + other.objects,
            versions=self.versions + other.versions,
            delete_markers=self.delete_markers + other.delete_markers,
            uploads=self.uploads + other.uploads,
            size_bytes=self.size_bytes + other.size_bytes,
        )


class StoreRefusal(Contract):
    """A store that did not let something be removed. ``until`` is when it did; open while absent."""

    store: str
    reason_code: ReasonCode
    count: int = Field(
        ge=0, description="versions, markers and uploads that it kept, when it was last asked; 0: they cannot be listed"
    )
    since: Timestamp
    until: Timestamp | None = None


class SubcontractorConfirmation(Contract):
    """A subcontractor's word that it destroyed what it held, as an operator recorded it: the document stays outside."""

    subcontractor: SubcontractorName
    reference: OpaqueId
    recorded_at: Timestamp
    recorded_by: OpaqueId


class PurgeExport(Contract):
    """The export that the tenant has a right to before anything is destroyed."""

    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: the tenant had no adapter to take")
    waits_until: Timestamp = Field(description="counted from the fence, and anew from when the export is ready")
    wait: timedelta | None = Field(
        default=None,
        description="what the contract grants from when the export is ready, as far as the deletion SLA leaves it; "
        "absent: no attempt to make the export has ended yet, or another release noted how it ended",
    )
    ready_at: Timestamp | None = None
    acknowledged_at: Timestamp | None = None
    acknowledged_by: OpaqueId | None = None
    refusal_code: ReasonCode | None = Field(default=None, description="why it cannot be made, as long as it cannot")


class SlaWarning(Contract):
    """A warning that was published, and when it was due and noticed."""

    kind: Literal["at-risk-50", "at-risk-80", "overdue"]
    at: Timestamp


PurgeStep = Literal[
    "requested",
    "fenced",
    "exported",
    "acknowledged",
    "shredded",
    "evicted",
    "deleted",
    "verified",
    "certified",
]
"""``exported`` and ``acknowledged`` only where the tenant has a right of export and an adapter."""


FENCED_WITHIN = timedelta(minutes=15)
"""After this long a tenant whose purge was asked for and that is active still is an alarm: a fence takes seconds."""


class PurgeRecord(Contract):
    """A purge in progress. Every step is idempotent, so that any process can take it further.

    What it is blocked by does not replace the step: ``holds`` (blocked by hold), ``refusals`` (partial) and
    ``warnings`` (overdue) stand beside it, and the deadline does not move for any of them.
    """

    purge_id: PurgeId
    tenant: TenantName
    step: PurgeStep
    requested_at: Timestamp
    requested_by: OpaqueId
    reason_code: ReasonCode
    request_event_id: OpaqueId | None = None
    traceparent: Traceparent | None = Field(default=None, description="the trace of what asked for it")
    dead_letter: ReasonCode | None = Field(
        default=None, description="why what asked for it is a dead letter, so that the tenant was not fenced for it"
    )
    deadline: Timestamp
    sla_days: int = Field(description="what the tenant's contract promises")
    baa_reference: OpaqueId | None = Field(default=None, description="which contract that is, as the policy names it")
    moved_at: Timestamp = Field(description="when it reached its step")
    fenced_at: Timestamp | None = None
    export: PurgeExport | None = Field(default=None, description="absent: no right of export")
    holds: tuple[LegalHold, ...] = ()
    destruction_decided_at: Timestamp | None = Field(
        default=None,
        description="from here on no hold is accepted; by the purge service's clock or, where that is behind the clock "
        "of whoever fenced or released a hold, their time, so that it is never earlier than what it followed",
    )
    quiesced_at: Timestamp | None = Field(
        default=None, description="no writer that was alive at the fence can still write after this"
    )
    longest_lease_seconds: float | None = Field(default=None, description="of the tenant's runs at the fence")
    replicas: tuple[OpaqueId, ...] = Field(default=(), description="found at the fence, cut off or not")
    incarnations: dict[OpaqueId, OpaqueId] = Field(
        default={}, description="the process that held each one's lease when it was found"
    )
    acknowledgements: tuple[ReplicaAcknowledgement, ...] = ()
    receipts: dict[OpaqueId, dict[str, Any]] = Field(
        default={}, description="what each replica signed, which the certificate names by digest: DSSE envelopes"
    )
    subcontractors: tuple[SubcontractorName, ...] = Field(
        default=(), description="declared by the operator, at the fence, to hold tenant data"
    )
    confirmations: tuple[SubcontractorConfirmation, ...] = ()
    backups_kept: timedelta | None = Field(
        default=None, description="how long the operator's copies of the bucket keep what was deleted, as declared"
    )
    topic_retention: Retention = Field(
        default={}, description="days, or unlimited, that topics kept their events at the fence; the others: 7 days"
    )
    confirmations_until: Timestamp | None = Field(
        default=None, description="until then the certificate waits for those that did not confirm"
    )
    key_destroyed_at: Timestamp | None = Field(default=None, description="not before the decision, as noted")
    found: tuple[StoreCount, ...] = Field(default=(), description="each batch before it was removed")
    sweeps: int | None = Field(
        default=None, ge=0, description="that found nothing left in the end; absent: none may begin yet"
    )
    counted_through: dict[str, str] = Field(
        default={}, description="the key of each listing up to which the sweep in progress has counted"
    )
    late: tuple[StoreCount, ...] = Field(default=(), description="what later sweeps found of writers that were late")
    refusals: tuple[StoreRefusal, ...] = ()
    verified_at: tuple[Timestamp, ...] = Field(default=(), description="when the prefixes were listed and found empty")
    warnings: tuple[SlaWarning, ...] = ()
    audit_checkpoint: dict[str, Any] | None = Field(
        default=None, description="the latest of the tenant's audit log when everything was verified, a DSSE envelope"
    )

    uncertifiable: tuple[ReasonCode, ...] = Field(
        default=(), description="the rules that its certificate would break, so that none was signed"
    )

    @property
    def open_holds(self) -> tuple[LegalHold, ...]:
        return tuple(hold for hold in self.holds if hold.is_open)

    def is_not_fenced(self, now: datetime) -> bool:
        """Whether the tenant is active although its purge was asked for, and nothing is likely to change that."""
        return self.step == "requested" and (self.dead_letter is not None or now >= self.moved_at + FENCED_WITHIN)

    @property
    def is_blocked_by_hold(self) -> bool:
        return self.destruction_decided_at is None and bool(self.open_holds)

    @property
    def is_partial(self) -> bool:
        """Some store keeps something back. Nothing is certified before it has let go."""
        return any(refusal.until is None for refusal in self.refusals)

    @property
    def is_prepared(self) -> bool:
        """What must be found out while there is a key is noted."""
        return self.sweeps is not None

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The declared subcontractors whose confirmation nobody has recorded."""
        confirmed = {confirmation.subcontractor for confirmation in self.confirmations}
        return tuple(name for name in self.subcontractors if name not in confirmed)

    @property
    def _is_swept(self) -> bool:
        return self.step in ("deleted", "verified", "certified")

    @property
    def objects_removed(self) -> int:
        return sum(count.objects for count in (*self.found, *self.late)) if self._is_swept else 0

    @property
    def versions_removed(self) -> int:
        """Versions, delete markers and open uploads."""
        return sum(count.total for count in (*self.found, *self.late)) if self._is_swept else 0

    @property
    def bytes_removed(self) -> int:
        """Of the versions as they were stored."""
        return sum(count.size_bytes for count in (*self.found, *self.late)) if self._is_swept else 0
