"""The records that lie sealed under a tenant's prefix, and those of replicas and purges."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from schemas.events import Trigger
from schemas.holds import LegalHold
from schemas.hyperparameters import Hyperparameters
from schemas.identifiers import OpaqueId, PurgeId, ReasonCode, Sha256Hex, SubcontractorName, TenantName, Traceparent
from schemas.model import Contract
from schemas.moments import Moment
from schemas.numbers import Count, Version


class ExampleRecord(Contract):
    """The latest decision on an example. ``withdrawn`` is for ever; otherwise the higher version wins and, of one
    version, the rejection."""

    example_id: OpaqueId
    version: Count = Field(description="0: withdrawn before any decision was seen")
    status: Literal["approved", "rejected", "withdrawn"]
    decided_at: Moment
    event_id: OpaqueId
    reviewer_id: OpaqueId | None = None
    consent_id: OpaqueId | None = None
    commitment: Sha256Hex | None = None
    reason_code: ReasonCode | None = None


class ConsentRecord(Contract):
    """The latest word on a consent: the higher version and, of one version, the revocation."""

    consent_id: OpaqueId
    version: Count = 0
    granted: bool = False
    event_id: OpaqueId | None = None
    decided_at: Moment | None = None


class WaitingExample(Contract):
    """An example that was approved while there was no consent, or lost it: it counts once consent is granted.

    One object each, since one consent may cover any number of examples.
    """

    example_id: OpaqueId
    consent_id: OpaqueId


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
    requested_at: Moment
    traceparent: Traceparent | None = Field(default=None, description="the trace of what asked for it")


class ExportDecision(Contract):
    """What an export is of, or why it is refused. Its request is decided upon once, whatever the tenant has later."""

    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: refused")
    refusal_code: ReasonCode | None = Field(default=None, description="absent: granted")


class LeaseRecord(Contract):
    """Who works on a run, until when. Safety comes from the fence, never from the clock."""

    run_id: OpaqueId
    holder: OpaqueId
    fence: int = Field(ge=1)
    expires_at: Moment
    seconds: float = Field(gt=0, description="how long a renewal of it lasts")


class ReplicaRecord(Contract):
    """A serving replica's lease. After ``expires_at`` it serves no adapter any more, by itself.

    Only the process that wrote it, named by ``incarnation``, renews it, and only over its own last version. Whoever
    sets ``fenced_at`` therefore ends the lease for good: the replica must be started anew.

    ``earlier`` names processes that this one took the lease over from. They may serve until their ends.
    """

    replica_id: OpaqueId
    base_model_digest: Sha256Hex
    started_at: Moment
    expires_at: Moment
    incarnation: OpaqueId
    earlier: dict[OpaqueId, Moment] = Field(
        default={}, description="the end of the lease of each earlier incarnation, the latest last; older ones are over"
    )
    fenced_at: Moment | None = None
    fenced_by: OpaqueId | None = Field(default=None, description="the purge or withdrawal that it did not answer")


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
    since: Moment
    until: Moment | None = None


class ReplicaAcknowledgement(Contract):
    """How a replica that the fence found left the tenant: it evicted, or its lease expired and cannot be renewed."""

    replica_id: OpaqueId
    outcome: Literal["evicted", "expired"]
    at: Moment = Field(description="by the replica's clock or, where that is ahead, when the answer came")
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
    lease_ended_at: Moment | None = Field(default=None, description="of one that expired")
    fenced_at: Moment | None = Field(default=None, description="when it was cut off its lease, by this purge or before")


class RetirementAcknowledgement(ReplicaAcknowledgement):
    """How a replica left a retired adapter, with what it signed, which the withdrawal's receipt names by digest."""

    receipt: dict[str, Any] | None = Field(default=None, description="a DSSE envelope")


class SubcontractorConfirmation(Contract):
    """A subcontractor's word that it destroyed what it held, as an operator recorded it: the document stays outside."""

    subcontractor: SubcontractorName
    reference: OpaqueId
    recorded_at: Moment
    recorded_by: OpaqueId


class PurgeExport(Contract):
    """The export that the tenant has a right to before anything is destroyed."""

    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: the tenant had no adapter to take")
    waits_until: Moment = Field(description="counted from the fence, and anew from when the export is ready")
    wait: timedelta | None = Field(
        default=None,
        description="what the contract grants from when the export is ready, as far as the deletion SLA leaves it; "
        "absent: no attempt to make the export has ended yet, or another release noted how it ended",
    )
    ready_at: Moment | None = None
    acknowledged_at: Moment | None = None
    acknowledged_by: OpaqueId | None = None
    refusal_code: ReasonCode | None = Field(default=None, description="why it cannot be made, as long as it cannot")


class SlaWarning(Contract):
    """A warning that was published, and when it was due and noticed."""

    kind: Literal["at-risk-50", "at-risk-80", "overdue"]
    at: Moment


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


class PurgeRecord(Contract):
    """A purge in progress. Every step is idempotent, so that any process can take it further.

    What it is blocked by does not replace the step: ``holds`` (blocked by hold), ``refusals`` (partial) and
    ``warnings`` (overdue) stand beside it, and the deadline does not move for any of them.
    """

    purge_id: PurgeId
    tenant: TenantName
    step: PurgeStep
    requested_at: Moment
    requested_by: OpaqueId
    reason_code: ReasonCode
    request_event_id: OpaqueId | None = None
    traceparent: Traceparent | None = Field(default=None, description="the trace of what asked for it")
    deadline: Moment
    sla_days: int = Field(description="what the tenant's contract promises")
    baa_reference: OpaqueId | None = Field(default=None, description="which contract that is, as the policy names it")
    moved_at: Moment = Field(description="when it reached its step")
    fenced_at: Moment | None = None
    export: PurgeExport | None = Field(default=None, description="absent: no right of export")
    holds: tuple[LegalHold, ...] = ()
    destruction_decided_at: Moment | None = Field(
        default=None,
        description="from here on no hold is accepted; by the purge service's clock or, where that is behind the clock "
        "of whoever fenced or released a hold, their time, so that it is never earlier than what it followed",
    )
    settled_at: Moment | None = Field(
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
    confirmations_until: Moment | None = Field(
        default=None, description="until then the certificate waits for those that did not confirm"
    )
    key_destroyed_at: Moment | None = Field(default=None, description="not before the decision, as noted")
    found: tuple[StoreCount, ...] = Field(default=(), description="each batch before it was removed")
    sweeps: int | None = Field(
        default=None, ge=0, description="that found nothing left in the end; absent: none may begin yet"
    )
    counted_through: dict[str, str] = Field(
        default={}, description="the key of each listing up to which the sweep in progress has counted"
    )
    late: tuple[StoreCount, ...] = Field(default=(), description="what later sweeps found of writers that were late")
    refusals: tuple[StoreRefusal, ...] = ()
    verified_at: tuple[Moment, ...] = Field(default=(), description="when the prefixes were listed and found empty")
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
