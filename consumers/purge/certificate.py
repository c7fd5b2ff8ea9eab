"""The certificate of destruction: what was destroyed, how, how that was verified, and what is kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from consumers.purge.destruction import KEY_STORE
from consumers.purge.roots import STRAYS
from schemas.manifests import (
    PURGE_PREDICATE,
    KeyDestruction,
    PurgeCertificate,
    Retained,
    StoreFinding,
    SubcontractorFinding,
    purge_subject,
    statement,
)
from schemas.records import PurgeRecord, Residue, StoreCount
from schemas.store import Store
from schemas.stores import STORES, kept, outcome_of
from schemas.topics import TOPICS
from schemas.version import TOOL
from tenancy.certificate_rules import Contradictory, broken

METHOD = (
    "cryptographic erase: every version of the wrapped data key was deleted; all objects of the tenant were sealed "
    "under that key by AES-256-GCM before they were stored",
    "deletion of every object version, delete marker and open multipart upload",
    "eviction from every serving replica, with a signed receipt, or the end of a lease that it could not renew",
)
VERIFICATION = (
    "full: every listed prefix was listed twice and was empty of versions, markers and uploads, the second time after "
    "no writer that was alive at the fence could still write"
)
COUNTING = (
    "by listing, the key before it was destroyed and the rest in batches, each before it was deleted; bytes are of the "
    "versions as they were stored, and without the parts of open multipart uploads, whose size no listing gives"
)
NOTHING = Residue(versions=0, delete_markers=0, uploads=0, size_bytes=0)


def certificate(record: PurgeRecord) -> dict[str, Any]:
    """The statement to sign. It is a function of the record alone, so that certifying again gives the same one.

    Raises :class:`Contradictory` where nobody would accept it.
    """
    if (
        record.fenced_at is None
        or record.settled_at is None
        or record.destruction_decided_at is None
        or record.key_destroyed_at is None
        or len(record.verified_at) != 2
    ):
        raise ValueError("a purge is certified after its key is destroyed and it was verified twice")
    completed_at = record.verified_at[1]
    longest = max(topic.worst_case_survival_ms() for topic in TOPICS.values())
    predicate = PurgeCertificate(
        certificate_id=record.purge_id,
        tenant=record.tenant,
        baa_reference=record.baa_reference,
        requested_by=record.requested_by,
        reason_code=record.reason_code,
        requested_at=record.requested_at,
        request_event_id=record.request_event_id,
        sla_days=record.sla_days,
        deadline=record.deadline,
        fenced_at=record.fenced_at,
        export=record.export,
        holds=record.holds,
        destruction_decided_at=record.destruction_decided_at,
        key_destroyed_at=record.key_destroyed_at,
        settled_at=record.settled_at,
        completed_at=completed_at,
        method=METHOD,
        tool=TOOL,
        performed_by="purge service, by itself; it performed and verified, and holds the signing key",
        keys=_keys(record.key_destroyed_at),
        stores=tuple(_finding(store, record, completed_at) for store in STORES.values()),
        objects_removed=record.objects_removed,
        versions_removed=record.versions_removed,
        bytes_removed=record.bytes_removed,
        counting_method=COUNTING,
        residual=0,
        verification_method=VERIFICATION,
        verified_at=record.verified_at,
        replicas_found=record.replicas,
        replicas=record.acknowledgements,
        exceptions=record.refusals,
        subcontractors=_subcontractors(record),
        retained=tuple(
            Retained(store=store.name, holds=store.holds, because=str(store.kept_because))
            for store in kept()
            if store.protection != "no-tenant-data"
        ),
        backups=f"none is made by this system; {STORES['copies.bucket'].purger.how}",
        backups_gone_by=None if record.backups_kept is None else completed_at + record.backups_kept,
        topics_survive_until=completed_at + timedelta(milliseconds=longest),
        audit_checkpoint=record.audit_checkpoint,
    )
    if rules := broken(predicate):
        raise Contradictory(rules)
    return statement(PURGE_PREDICATE, purge_subject(record.purge_id, record.tenant), predicate)


def _subcontractors(record: PurgeRecord) -> tuple[SubcontractorFinding, ...] | None:
    if record.subcontractors is None:
        return None
    confirmed = {confirmation.subcontractor: confirmation for confirmation in record.confirmations}
    return tuple(
        SubcontractorFinding(
            subcontractor=name,
            outcome="confirmed" if name in confirmed else "unconfirmed",
            confirmation=confirmed.get(name),
        )
        for name in record.subcontractors
    )


def _keys(destroyed_at: datetime) -> tuple[KeyDestruction, ...]:
    own, provider = STORES[KEY_STORE], STORES["keys.tenant-kms"]
    return (
        KeyDestruction(
            key=own.name,
            method=own.purger.how,
            destroyed_at=destroyed_at,
            note="at once and for good: no copy of the wrapped key is left, so nothing is scheduled",
        ),
        KeyDestruction(
            key=provider.name,
            method=provider.purger.how,
            destroyed_at=None,
            note="only where the operator gave the tenant one; KMS's own record says when it was scheduled and is gone",
        ),
    )


def _finding(store: Store, record: PurgeRecord, completed_at: datetime) -> StoreFinding:
    finding = StoreFinding(
        store=store.name,
        medium=store.medium,
        method=store.purger.method,
        how=store.purger.how,
        outcome=outcome_of(store),
        probe=store.probe.how,
    )
    if finding.outcome == "empty":
        return finding.model_copy(
            update={
                "before": _of(store, record.found) or StoreCount(store=store.name, size_bytes=0),
                "late": _of(store, record.late),
                "after": NOTHING,
                "probed_at": record.verified_at,
            }
        )
    if finding.outcome == "receipts":
        answered = tuple(sorted({noted.at for noted in record.acknowledgements}))
        return finding.model_copy(update={"probed_at": answered})
    if finding.outcome == "expires" and isinstance(store.survives, timedelta):
        return finding.model_copy(update={"gone_by": completed_at + store.survives})
    return finding


def _of(store: Store, counts: tuple[StoreCount, ...]) -> StoreCount | None:
    """What another release counted in a store that this one does not know is a stray here: the totals have it too."""
    is_strays = store.name == STRAYS
    found = [count for count in counts if count.store == store.name or (is_strays and count.store not in STORES)]
    return sum(found, StoreCount(store=store.name, size_bytes=0)) if found else None
