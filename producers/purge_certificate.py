"""Checking a certificate of purge for what it says: a good signature under a contradiction is worth nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from producers.verdict import SIGNED, TRUST, Verdict
from schemas.audit import AuditCheckpoint
from schemas.canonical import sha256_hex
from schemas.manifests import PurgeCertificate, StoreFinding
from schemas.model import read_tolerant
from tenancy.errors import BadSignature
from tenancy.signing import unverified

KIND = "certificate of purge"
LISTED = ("object-store", "key-material")


def checked_certificate(path: Path, statement: dict[str, Any]) -> Verdict:
    """What a signed certificate proves. Raises :class:`BadSignature` for one that contradicts itself."""
    held = read_tolerant(PurgeCertificate, statement["predicate"])
    subject = {"name": f"tenant:{held.tenant}", "digest": {"sha256": _subject(held)}}
    if statement.get("subject") != [subject]:
        raise BadSignature("the certificate's subject is not the tenant and purge that it speaks of")
    for contradiction in _contradictions(held):
        raise BadSignature(contradiction)
    return Verdict(
        kind=KIND,
        facts=dict(_facts(held)),
        proves=(
            SIGNED,
            "its signer states that the tenant's data key was destroyed, after which its sealed objects cannot be read",
            "its signer states that every store in it was listed twice and was empty both times, the second time after "
            "no writer that was alive at the fence could still write",
            "its signer states how each replica that the fence found left the tenant: by a signed receipt, or by the "
            "end of a lease that it could not renew",
            "its signer states that no legal hold was open when the destruction was decided",
        ),
        does_not_prove=(
            TRUST,
            "anything about copies outside the stores that it lists: exports that the tenant took, backups of others",
            "that the bus is free of the tenant's events. Those published before the completion are gone by the time "
            "given above, its own last ones and what others go on to publish later; they hold ids and commitments",
            f"anything about {', '.join(_of(held, 'operator'))}: whoever runs the installation answers for these",
            f"backups: {held.backups}",
            *_unproved_of_subcontractors(held),
            *(
                f"that nothing is kept. {kept.store} is ({kept.holds}), because {kept.because}"
                for kept in held.retained
            ),
        ),
    )


def _subject(held: PurgeCertificate) -> str:
    return sha256_hex({"purge": held.certificate_id, "tenant": held.tenant})


def _contradictions(held: PurgeCertificate) -> Iterator[str]:
    """Why the certificate cannot be true, the gravest first."""
    left = [store.store for store in held.stores if store.after and (store.after.total or store.after.size_bytes)]
    unlisted = [store.store for store in held.stores if _is_listed(store) and store.after is None]
    if held.residual or left or unlisted or len(held.verified_at) != 2:
        yield "the certificate itself says that the purge was not complete"
    if not {"keys.tenant", "state.superseded"} <= {store.store for store in held.stores if _is_listed(store)}:
        yield "the certificate does not speak of the tenant's key and superseded states"
    if any(refusal.until is None for refusal in held.exceptions):
        yield "the certificate itself says that a store still keeps something back"
    times = (
        held.fenced_at,
        held.destruction_decided_at,
        held.key_destroyed_at,
        *held.verified_at,
        held.completed_at,
    )
    if list(times) != sorted(times) or held.verified_at[-1:] < (held.settled_at,):
        yield "the certificate's times are out of order"
    answered = [noted.replica_id for noted in held.replicas]
    if sorted(answered) != sorted(held.replicas_found):
        yield "the certificate does not say how each replica that it found left the tenant"
    for noted in held.replicas:
        if noted.outcome == "evicted" and noted.receipt_sha256 is None:
            yield "the certificate speaks of a replica's receipt and does not name it"
        if noted.lease_ended_at is not None and noted.lease_ended_at > noted.at:
            yield "the certificate counts a replica as expired whose lease had not ended"
    for hold in held.holds:
        if hold.released_at is None or hold.released_at > held.destruction_decided_at:
            yield "the certificate itself says that the destruction was decided under a legal hold"
    export = held.export
    is_owed = export is not None and export.adapter_digest is not None and export.acknowledged_at is None
    if export is not None and is_owed and held.destruction_decided_at < export.waits_until:
        yield "the certificate itself says that the tenant was given less time for its export than it had a right to"

    for found in held.subcontractors or ():
        confirmation = found.confirmation
        if (found.outcome == "confirmed") != (confirmation is not None):
            yield "the certificate calls a subcontractor confirmed and names no confirmation, or the other way round"
        elif confirmation is not None and confirmation.subcontractor != found.subcontractor:
            yield "the certificate gives one subcontractor's confirmation for another"
    checkpoint = _checkpoint(held)
    if checkpoint is not None and checkpoint.tenant != held.tenant:
        yield "the certificate names a checkpoint of another tenant's audit log"


def _checkpoint(held: PurgeCertificate) -> AuditCheckpoint | None:
    """What the checkpoint says. It lies in what is signed here; its own signature may be by an earlier key."""
    if held.audit_checkpoint is None:
        return None
    try:
        return read_tolerant(AuditCheckpoint, unverified(held.audit_checkpoint)["predicate"])
    except (KeyError, ValueError):
        raise BadSignature("the certificate's checkpoint of the audit log is none") from None


def _is_listed(store: StoreFinding) -> bool:
    return store.medium in LISTED and store.outcome == "empty"


def _of(held: PurgeCertificate, outcome: str) -> list[str]:
    return [store.store for store in held.stores if store.outcome == outcome] or ["nothing"]


def _facts(held: PurgeCertificate) -> Iterator[tuple[str, str]]:
    in_time = "within" if held.completed_at <= held.deadline else "AFTER"
    yield "tenant", held.tenant
    yield "purge", held.certificate_id
    yield "requested", f"{held.requested_at.isoformat()} by {held.requested_by} ({held.reason_code})"
    yield "contract", held.baa_reference or "not named"
    yield "fenced", held.fenced_at.isoformat()
    yield "completed", f"{held.completed_at.isoformat()}, {in_time} the deadline {held.deadline.isoformat()}"
    yield "export", _export(held)
    yield "legal holds", _holds(held)
    yield "key destroyed", held.key_destroyed_at.isoformat()
    yield (
        "removed",
        f"{held.objects_removed} objects in {held.versions_removed} versions, markers and uploads; {_size(held)}",
    )
    yield "listed empty", ", ".join(moment.isoformat() for moment in held.verified_at)
    yield "replicas", ", ".join(f"{noted.replica_id} {noted.outcome}" for noted in held.replicas) or "none was found"
    yield "kept back for a while", ", ".join(f"{e.store} ({e.reason_code})" for e in held.exceptions) or "nothing"
    yield "subcontractors", _subcontractors(held)
    yield "audit log", _audit_log(held)
    yield "earlier events gone by", held.topics_survive_until.isoformat()
    yield "performed by", f"{held.performed_by}; {held.tool}"


def _export(held: PurgeCertificate) -> str:
    export = held.export
    if export is None:
        return "the contract gives no right of export"
    if export.adapter_digest is None:
        return "there was no adapter to take"
    if export.acknowledged_at is not None:
        return f"{export.adapter_digest} taken at {export.acknowledged_at.isoformat()} by {export.acknowledged_by}"
    if export.ready_at is None:
        return f"{export.adapter_digest} could not be put out ({export.refusal_code or 'no time was left'})"
    return f"{export.adapter_digest} put out and not taken until {export.waits_until.isoformat()}"


def _holds(held: PurgeCertificate) -> str:
    periods = [
        f"{hold.hold_id} ({hold.reason_code}) from {hold.placed_at.isoformat()} to "
        f"{hold.released_at.isoformat() if hold.released_at else '…'}"
        for hold in held.holds
    ]
    return ", ".join(periods) or "none"


def _size(held: PurgeCertificate) -> str:
    if held.bytes_removed is None:
        return "bytes were not counted"
    return f"{held.bytes_removed} bytes, without the parts of open uploads"


def _subcontractors(held: PurgeCertificate) -> str:
    if held.subcontractors is None:
        return "not spoken of, by the release that made it"
    said = []
    for found in held.subcontractors:
        noted = found.confirmation
        how = f"({noted.reference}, recorded {noted.recorded_at.isoformat()} by {noted.recorded_by})" if noted else ""
        said.append(f"{found.subcontractor} {found.outcome} {how}".strip())
    return ", ".join(said) or "none was declared"


def _unproved_of_subcontractors(held: PurgeCertificate) -> Iterator[str]:
    if not held.subcontractors:
        yield "that no subcontractor holds anything: it names none"
    for found in held.subcontractors or ():
        if found.confirmation is None:
            yield f"that {found.subcontractor} destroyed what it holds: it was declared and is unconfirmed"
        else:
            yield f"that what {found.subcontractor} confirmed is true: ask for document {found.confirmation.reference}"


def _audit_log(held: PurgeCertificate) -> str:
    checkpoint = _checkpoint(held)
    if checkpoint is None:
        return "no checkpoint: nothing of it was signed"
    if checkpoint.signed_at < held.key_destroyed_at:
        return f"its first {checkpoint.seq} entries, signed before the destruction: they do not cover it"
    return f"its first {checkpoint.seq} entries, signed {checkpoint.signed_at.isoformat()}, after the key's destruction"
