"""Builds the certificate of destruction: what was destroyed, how, how that was verified, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from consumers.purge.destruction import KEY_STORE
from consumers.purge.roots import STRAYS
from schemas.bus.retention import kept as topics_kept
from schemas.bus.retention import survival
from schemas.bus.topics import DAY_MS, TOPICS, Topic
from schemas.evidence.statements import (
    PURGE_PREDICATE,
    KeyDestruction,
    PurgeCertificate,
    Retained,
    StoreFinding,
    SubcontractorFinding,
    backups_in_words,
    purge_subject,
    statement,
)
from schemas.objects.purges import PurgeRecord, Residue, StoreCount
from schemas.stores.registry import STORES, kept, outcome_of, registry_sha256
from schemas.stores.store import Store
from schemas.version import TOOL
from tenancy.evidence.certificate_rules import Contradictory, broken

METHOD = (
    "cryptographic erase: every version of the wrapped data key was deleted; every object that this system stored for "
    "the tenant outside knowledge/ had been sealed under that key with AES-256-GCM",
    "deletion of every object version, delete marker and open multipart upload of the tenant",
    "drop of the tenant's schema in the database of indexes, where the installation has one",
    "eviction from every serving replica, shown by a signed receipt or by the end of a lease that the replica could "
    "not renew",
)
VERIFICATION = (
    "full: every store that is called empty was listed twice, and both listings found no version, delete marker, open "
    "upload or schema; the second listing was made only after every writer alive at the fence had lost the ability to "
    "write"
)
COUNTING = (
    "by listing: the key before it was destroyed, and the rest in batches, each before it was deleted; bytes are those "
    "of the versions as they were stored, without the parts of open multipart uploads, whose size no listing gives; of "
    "an index in a database, passages count as objects, and bytes are those of its tables"
)
PERFORMED_BY = "the purge service alone: it performed and verified the deletion and holds the signing key"
ON_THE_BUS = "opaque ids, codes, salted commitments, and ciphertext to the tenant's public key"
WHY_UNREADABLE = (
    "the salts, without which a commitment cannot be compared with any text, and the private key that opens the "
    "ciphertext were sealed under the tenant's data key, which was destroyed"
)
NOTHING_IN_CLEAR = (
    "none: nothing is removed. Events hold no text in clear by their schemas; what a publisher sent against them was "
    "refused, and stays where it was sent"
)
NOTHING = Residue(versions=0, delete_markers=0, uploads=0)

_AS_RECORDED = (
    "tenant",
    "baa_reference",
    "requested_by",
    "reason_code",
    "requested_at",
    "request_event_id",
    "sla_days",
    "deadline",
    "fenced_at",
    "export",
    "holds",
    "destruction_decided_at",
    "key_destroyed_at",
    "quiesced_at",
    "objects_removed",
    "versions_removed",
    "bytes_removed",
    "verified_at",
    "backups_kept",
    "audit_checkpoint",
)
"""What certificate and record call by the same name."""


def certificate(record: PurgeRecord) -> dict[str, Any]:
    """The statement to sign. It is a function of the record alone, so that certifying again gives the same one.

    Raises :class:`Contradictory` where nobody would accept it.
    """
    steps = (record.fenced_at, record.quiesced_at, record.destruction_decided_at, record.key_destroyed_at)
    if None in steps or record.key_destroyed_at is None or len(record.verified_at) != 2:
        raise ValueError("a purge is certified after its key is destroyed and it was verified twice")
    completed_at = record.verified_at[1]
    topics = topics_kept(record.topic_retention)
    longest = survival(topics.values())
    predicate = PurgeCertificate(
        certificate_id=record.purge_id,
        **{name: getattr(record, name) for name in _AS_RECORDED},
        completed_at=completed_at,
        method=METHOD,
        tool=TOOL,
        registry_sha256=registry_sha256(),
        performed_by=PERFORMED_BY,
        keys=_keys(record.key_destroyed_at),
        stores=tuple(_finding(store, record, topics, completed_at) for store in STORES.values()),
        counting_method=COUNTING,
        residual=0,
        verification_method=VERIFICATION,
        replicas_found=record.replicas,
        replicas=record.acknowledgements,
        exceptions=record.refusals,
        subcontractors=_subcontractors(record),
        retained=_retained(topics),
        backups=backups_in_words(record.backups_kept),
        backups_gone_by=None if record.backups_kept is None else completed_at + record.backups_kept,
        topics_survive_until=None if longest is None else completed_at + longest,
    )
    if rules := broken(predicate):
        raise Contradictory(rules)
    return statement(PURGE_PREDICATE, purge_subject(record.purge_id, record.tenant), predicate)


def _retained(topics: Mapping[str, Topic]) -> tuple[Retained, ...]:
    """What is kept in every installation, and the topics of this one that keep events for longer than the contract."""
    on_purpose = [
        Retained(store=store.name, holds=store.holds, because=str(store.kept_because))
        for store in kept()
        if store.protection != "no-tenant-data"
    ]
    longer = [
        Retained(store=topic.name, holds=f"{topic.description}: {ON_THE_BUS}", because=_kept_because(topic))
        for topic in topics.values()
        if topic.unlimited or topic.retention_ms > TOPICS[topic.name].retention_ms
    ]
    return (*on_purpose, *longer)


def _kept_because(topic: Topic) -> str:
    kept_for = "without end" if topic.unlimited else f"for {topic.retention_ms // DAY_MS} days"
    return f"the operator keeps this topic {kept_for}, so that a replay can rebuild an installation; {WHY_UNREADABLE}"


def _subcontractors(record: PurgeRecord) -> tuple[SubcontractorFinding, ...]:
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
            note="immediate: no version of the wrapped key is left in the bucket, and no later deletion is scheduled",
        ),
        KeyDestruction(
            key=provider.name,
            method=provider.purger.how,
            destroyed_at=None,
            note="only where the operator gave the tenant such a key; the key service's own records show when it was "
            "scheduled for deletion and when it was deleted",
        ),
    )


def _finding(store: Store, record: PurgeRecord, topics: Mapping[str, Topic], completed_at: datetime) -> StoreFinding:
    finding = StoreFinding(
        store=store.name,
        medium=store.medium,
        method=store.purger.method,
        how=store.purger.how,
        outcome=outcome_of(store),
        probe=store.probe.how,
    )
    if finding.outcome == "empty":
        return finding.evolve(
            before=_of(store, record.found) or StoreCount(store=store.name),
            late=_of(store, record.late),
            after=NOTHING,
            probed_at=record.verified_at,
        )
    if finding.outcome == "receipts":
        answered = tuple(sorted({noted.at for noted in record.acknowledgements}))
        return finding.evolve(probed_at=answered)
    if finding.outcome == "expires":
        survives = survival([topics[store.name]])
        if survives is None:
            return finding.evolve(
                outcome="unreadable", method="cryptographic-erase", how=WHY_UNREADABLE, probe=NOTHING_IN_CLEAR
            )
        return finding.evolve(gone_by=completed_at + survives)
    return finding


def _of(store: Store, counts: tuple[StoreCount, ...]) -> StoreCount | None:
    """What another release counted in a store that this one does not know is a stray here: the totals have it too."""
    is_strays = store.name == STRAYS
    found = [count for count in counts if count.store == store.name or (is_strays and count.store not in STORES)]
    return sum(found, StoreCount(store=store.name)) if found else None
