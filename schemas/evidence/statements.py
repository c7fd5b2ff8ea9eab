"""Defines the signed documents: in-toto Statements v1 and our predicates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from schemas.base.canonical import sha256_hex
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, PurgeId, Sha256Hex, SubcontractorName, TenantName
from schemas.base.integers import Version
from schemas.base.timestamps import Timestamp
from schemas.objects.purges import PurgeExport, Residue, StoreCount, StoreRefusal, SubcontractorConfirmation
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.training import LeftOutExample, TrainingSet
from schemas.stores.store import StoreOutcome
from schemas.tenant.holds import LegalHold
from schemas.tenant.hyperparameters import Hyperparameters

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
TRAINING_PREDICATE = "urn:sanolith:predicate:training:v1"
EVICTION_PREDICATE = "urn:sanolith:predicate:eviction:v1"
WITHDRAWAL_PREDICATE = "urn:sanolith:predicate:withdrawal-receipt:v1"
PURGE_PREDICATE = "urn:sanolith:predicate:purge-certificate:v1"


class StepMetric(Contract):
    """Training metrics of one optimizer step. Loss is the mean negative log-likelihood per answer token, in nats."""

    step: int = Field(ge=1)
    loss: float
    learning_rate: float
    tokens: int = Field(ge=0)


class TrainingManifest(Contract):
    """Everything that made an adapter. Bound by the statement's subjects to the adapter's files."""

    tenant: TenantName
    adapter_digest: Sha256Hex
    run_id: OpaqueId
    fence: int
    base_model: str
    base_model_digest: Sha256Hex
    config_sha256: Sha256Hex
    weights_sha256: Sha256Hex
    size_bytes: int
    training_set: TrainingSet
    trained_example_ids: tuple[OpaqueId, ...]
    heldout_example_ids: tuple[OpaqueId, ...]
    left_out: tuple[LeftOutExample, ...] = Field(
        default=(), description="eligible, but not taken: the model cannot, or the redaction gate found identifiers"
    )
    ineligible: tuple[LeftOutExample, ...] = Field(
        default=(), description="not to be used when the set was frozen: in review, consent, withdrawal, rejection"
    )
    hyperparameters: Hyperparameters
    policy_version: Version = Field(default=1, description="of the tenant's policy when the set was frozen")
    precision: str
    library_versions: dict[str, str]
    code_version: str
    processor: str
    started_at: Timestamp
    finished_at: Timestamp
    train_seconds: float
    trained_tokens: int
    heldout_loss_before: float | None
    heldout_loss_after: float | None
    metrics: tuple[StepMetric, ...]

    def roles(self) -> dict[str, Literal["trained", "held-out"]]:
        """What each example of the set was used for, by id."""
        heldout = set(self.heldout_example_ids)
        return {
            entry.example_id: "held-out" if entry.example_id in heldout else "trained"
            for entry in self.training_set.entries
        }


class EvictionReceipt(Contract):
    """A replica's receipt that it no longer holds anything of the tenant, with what its engine lists afterwards."""

    replica_id: OpaqueId
    incarnation: OpaqueId = Field(description="the process that evicted, as the replica's record names it")
    tenant: TenantName
    cause_id: OpaqueId
    evicted: tuple[Sha256Hex, ...]
    remaining: tuple[OpaqueId, ...] = Field(description="what the engine lists afterwards, of other tenants")
    slots_overwritten: bool
    prefix_cache_reset: bool
    local_files_deleted: bool
    requests_aborted: int = Field(ge=0)
    segments_overwritten: int = Field(default=0, ge=0, description="of the index of its documents, in memory")
    evicted_at: Timestamp = Field(description="not before the state asked for it, whatever the replica's clock says")


class StoreFinding(Contract):
    """What became of the tenant's data in one store of the registry, and how that is shown.

    ``before`` and ``after`` are of stores that a purge lists; ``late`` is what writers that were alive at
    the fence left there after it was counted. ``outcome`` of what cannot be listed says on whose word it stands.
    """

    store: str
    medium: str
    method: str
    how: str
    outcome: StoreOutcome
    before: StoreCount | None = None
    late: StoreCount | None = None
    after: Residue | None = None
    probe: str
    probed_at: tuple[Timestamp, ...] = ()
    gone_by: Timestamp | None = None


class KeyDestruction(Contract):
    """The end of one key. ``destroyed_at`` is when it was unusable, ``scheduled_for`` when its provider drops it."""

    key: str
    method: str
    destroyed_at: Timestamp | None
    scheduled_for: Timestamp | None = None
    note: str


class SubcontractorFinding(Contract):
    """What became of what a subcontractor holds: on its own word, which is kept outside under a reference, or on none.

    ``unconfirmed`` is an exception that the certificate states: nobody says that this subcontractor destroyed anything.
    """

    subcontractor: SubcontractorName
    outcome: Literal["confirmed", "unconfirmed"]
    confirmation: SubcontractorConfirmation | None = None


class Retained(Contract):
    """What outlives the purge on purpose."""

    store: str
    holds: str
    because: str


class PurgeCertificate(Contract):
    """A certificate of destruction, after NIST SP 800-88 section 4.8. It holds no content and no content hash."""

    certificate_id: PurgeId
    tenant: TenantName
    baa_reference: OpaqueId | None = Field(default=None, description="the contract, as the tenant's policy names it")
    requested_by: OpaqueId
    reason_code: str
    requested_at: Timestamp = Field(description="or, if the clock of whoever asked was ahead, when the purge was told")
    request_event_id: OpaqueId | None = None
    sla_days: int = Field(description="what the tenant's contract promises, from the request on")
    deadline: Timestamp
    fenced_at: Timestamp
    export: PurgeExport | None = Field(default=None, description="absent: the contract gives no right of export")
    holds: tuple[LegalHold, ...] = ()
    destruction_decided_at: Timestamp = Field(description="or, if a clock was behind, the latest time it came after")
    key_destroyed_at: Timestamp
    quiesced_at: Timestamp = Field(
        description="by then every writer that was alive at the fence had lost the ability to write"
    )
    completed_at: Timestamp
    description: Literal["purge"] = "purge"
    method: tuple[str, ...]
    tool: str
    registry_sha256: Sha256Hex = Field(description="of the registry of stores that it was made under")
    performed_by: str
    keys: tuple[KeyDestruction, ...]
    stores: tuple[StoreFinding, ...]
    objects_removed: int
    versions_removed: int
    bytes_removed: int = Field(description="of the versions as they were stored")
    counting_method: str
    residual: int
    verification_method: str
    verified_at: tuple[Timestamp, ...]
    replicas_found: tuple[OpaqueId, ...]
    replicas: tuple[ReplicaAcknowledgement, ...]
    exceptions: tuple[StoreRefusal, ...] = Field(default=(), description="what a store kept back for a while")
    subcontractors: tuple[SubcontractorFinding, ...] = Field(description="those that the operator declared")
    retained: tuple[Retained, ...]
    backups: str = Field(description="what ``backups_kept`` says, in words")
    backups_kept: timedelta | None = Field(
        default=None,
        description="how long copies of the bucket keep what was deleted, as the operator declares; absent: it "
        "declared nothing about them",
    )
    backups_gone_by: Timestamp | None = Field(
        default=None, description="that time after the completion: by then the copies have dropped what was deleted"
    )
    topics_survive_until: Timestamp | None = Field(
        default=None,
        description="by then no event that was published before completed_at is on a disk; absent: those of the stores "
        "called unreadable stay, and retained says what they are and why nobody can read them",
    )
    audit_checkpoint: dict[str, Any] | None = Field(
        default=None,
        description="a signed checkpoint of the tenant's audit log: whoever has the log can show that each entry up to "
        "the checkpoint's seq, the purge's steps up to the deletion among them, was there when this was certified",
    )


def backups_in_words(kept: timedelta | None) -> str:
    """What a certificate of purge states about copies of the bucket, which only the operator can know of."""
    if kept is None:
        return "this system makes no copies of the bucket, and the operator declared nothing about copies of the bucket"
    days = -(-kept // timedelta(days=1))  # rounded up
    return (
        "this system makes no copies of the bucket; the operator declares that its own copies of the bucket keep what "
        f"was deleted for at most {days} {'day' if days == 1 else 'days'}"
    )


class ExportedExample(Contract):
    """One line of an export's list of examples."""

    example_id: OpaqueId
    version: Version
    commitment: Sha256Hex
    reviewer_id: OpaqueId
    consent_id: OpaqueId | None
    role: Literal["trained", "held-out"]


def statement(predicate_type: str, subjects: dict[str, str], predicate: Contract) -> dict[str, Any]:
    """An in-toto Statement v1. ``subjects`` maps a name to a sha256 in hex."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subject(subjects),
        "predicateType": predicate_type,
        "predicate": predicate.model_dump(mode="json"),
    }


def is_about(statement: dict[str, Any], subjects: dict[str, str]) -> bool:
    """Whether these, and no others, are the statement's subjects."""
    return bool(statement.get("subject") == _subject(subjects))


def _subject(subjects: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())]


def purge_subject(purge_id: str, tenant: str) -> dict[str, str]:
    """What a certificate of purge is about: this tenant, in this purge."""
    return {f"tenant:{tenant}": sha256_hex({"purge": purge_id, "tenant": tenant})}


def eviction_subject(replica_id: str, cause_id: str) -> dict[str, str]:
    """What an eviction receipt is about: this replica, on account of this purge or retired adapter."""
    return {f"replica:{replica_id}": sha256_hex({"replica": replica_id, "cause": cause_id})}
