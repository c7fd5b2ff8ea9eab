"""The certificate of destruction: what was destroyed, how, how that was verified, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from schemas.canonical import sha256_hex
from schemas.manifests import PURGE_PREDICATE, PurgeCertificate, StoreFinding, statement
from schemas.records import PurgeRecord
from schemas.topics import TOPICS
from schemas.version import VERSION

METHOD = (
    "cryptographic erase: every version of the wrapped data key was deleted; all objects of the tenant were sealed "
    "under that key by AES-256-GCM before they were stored",
    "deletion of every object version, delete marker and open multipart upload",
    "eviction from every serving replica, with a signed receipt, or the end of its lease",
)
RETAINED = (
    "the tenant's state object, which holds its id, policy and the fence that keeps it purged",
    "this certificate and the purge's record",
    "the tenant's audit log, which holds opaque ids, digests, salted commitments and pseudonyms whose key is destroyed",
    "events on the bus, which hold opaque ids and salted commitments, until the topics' retention removes them, "
    "counted from the last one; one that is sent again after this certificate counts from then",
)


def certificate(record: PurgeRecord, findings: Sequence[StoreFinding]) -> dict[str, Any]:
    """The statement to sign. It is a function of the record alone, so that certifying again gives the same one."""
    if record.key_destroyed_at is None or len(record.verified_at) != 2:
        raise ValueError("a purge is certified after its key is destroyed and it was verified twice")
    longest = max(topic.worst_case_survival_ms() for topic in TOPICS.values())
    predicate = PurgeCertificate(
        certificate_id=record.purge_id,
        tenant=record.tenant,
        requested_by=record.requested_by,
        reason_code=record.reason_code,
        requested_at=record.requested_at,
        fenced_at=record.fenced_at,
        deadline=record.deadline,
        completed_at=record.verified_at[1],
        method=METHOD,
        tool=f"sanolith {VERSION}",
        key_destroyed_at=record.key_destroyed_at,
        stores=tuple(findings),
        objects_removed=record.objects_removed,
        versions_removed=record.versions_removed,
        residual=0,
        verification_method="full: every listed prefix was listed twice and was empty of versions, markers and uploads",
        verified_at=record.verified_at,
        replicas=record.acknowledgements,
        retained=RETAINED,
        topics_survive_until=record.verified_at[1] + timedelta(milliseconds=longest),
    )
    subject = {f"tenant:{record.tenant}": sha256_hex({"purge": record.purge_id, "tenant": record.tenant})}
    return statement(PURGE_PREDICATE, subject, predicate)
