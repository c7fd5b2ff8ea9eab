"""Checks the content of a certificate of purge: a valid signature under a contradiction is worth nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.base.contract import read_tolerant
from schemas.evidence.statements import PurgeCertificate, is_about, purge_subject
from schemas.version import TOOL
from tenancy.errors import BadSignature
from tenancy.evidence.certificate_rules import broken, checkpoint_of, is_of_this_registry
from tenancy.evidence.verdict import SIGNED, TRUST, Verdict

KIND = "certificate of purge"


def checked_certificate(path: Path, statement: dict[str, Any]) -> Verdict:
    """What a signed certificate proves. Raises :class:`BadSignature` for one that contradicts itself."""
    held = read_tolerant(PurgeCertificate, statement["predicate"])
    if not is_about(statement, purge_subject(held.certificate_id, held.tenant)):
        raise BadSignature("the certificate's subject is not the tenant and purge that it speaks of")
    if rules := broken(held):
        raise BadSignature("; ".join(rule.otherwise for rule in rules))
    return Verdict(
        kind=KIND,
        facts=dict(_facts(held)),
        proves=(
            SIGNED,
            "its signer states that the tenant's data key was destroyed, after which its sealed objects cannot be read",
            "its signer states that every store that it calls empty was listed twice and was empty both times, and "
            "that the second listing was made only after every writer alive at the fence had lost the ability to write",
            "its signer states how each replica that was found at the fence ceased to serve the tenant: by a signed "
            "receipt, or by the end of a lease that it could not renew, except for those named below",
            "its signer states that no legal hold was open when the destruction was decided",
        ),
        does_not_prove=(
            TRUST,
            "anything about copies outside the stores that it lists, such as exports that the tenant took",
            _unproved_of_the_bus(held),
            *_unproved_of_stores(held),
            *_unproved_of_export(held),
            *_unproved_of_replicas(held),
            f"anything about {', '.join(_of(held, 'operator'))}: the operator of the installation answers for these",
            f"anything about backups: {held.backups}{_backups_gone(held)}",
            *_unproved_of_subcontractors(held),
            *(
                f"that nothing is kept: {kept.store} is kept ({kept.holds}), because {kept.because}"
                for kept in held.retained
            ),
        ),
    )


def _backups_gone(held: PurgeCertificate) -> str:
    if held.backups_gone_by is None:
        return ""
    return f"; on that word, they are free of it from {held.backups_gone_by.isoformat()} on"


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
    yield "earlier events gone by", _events_gone(held)
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
        return f"{export.adapter_digest} could not be made available ({export.refusal_code or 'no reason is given'})"
    ready = export.ready_at.isoformat()
    return f"{export.adapter_digest} made available at {ready} and not taken by {export.waits_until.isoformat()}"


def _holds(held: PurgeCertificate) -> str:
    periods = [
        f"{hold.hold_id} ({hold.reason_code}) from {hold.placed_at.isoformat()} to "
        f"{hold.released_at.isoformat() if hold.released_at else '…'}"
        for hold in held.holds
    ]
    return ", ".join(periods) or "none"


def _size(held: PurgeCertificate) -> str:
    return f"{held.bytes_removed} bytes, without the parts of open uploads"


def _subcontractors(held: PurgeCertificate) -> str:
    said = []
    for found in held.subcontractors:
        noted = found.confirmation
        how = f"({noted.reference}, recorded {noted.recorded_at.isoformat()} by {noted.recorded_by})" if noted else ""
        said.append(f"{found.subcontractor} {found.outcome} {how}".strip())
    return ", ".join(said) or "none was declared"


def _events_gone(held: PurgeCertificate) -> str:
    if held.topics_survive_until is not None:
        return held.topics_survive_until.isoformat()
    return f"never, on {', '.join(_of(held, 'unreadable'))}: they stay, and cannot be read"


def _unproved_of_the_bus(held: PurgeCertificate) -> str:
    if held.topics_survive_until is not None:
        gone = (
            "Those published before the completion are gone by the time given above. The purge's own last events, and "
            "any that others publish later, are gone later."
        )
    else:
        gone = (
            f"{', '.join(_of(held, 'unreadable'))} keep theirs without end: commitments whose salts are destroyed, and "
            "ciphertext whose key is. What a publisher sent there in clear, against the contract, is there too."
        )
    return (
        f"that no event of the tenant is left on the bus. {gone} Events hold ids and salted commitments; dead letters "
        "hold whatever was sent"
    )


def _unproved_of_stores(held: PurgeCertificate) -> Iterator[str]:
    if not is_of_this_registry(held):
        yield (
            f"that it covers every store: {held.tool} made it under a registry of stores other than that of this "
            f"{TOOL}, which therefore looks only for the stores that a purge empties in every release"
        )


def _unproved_of_export(held: PurgeCertificate) -> Iterator[str]:
    export = held.export
    if export is None or export.adapter_digest is None or export.acknowledged_at is not None:
        return
    if export.ready_at is None and export.refusal_code is None:
        yield "that the tenant was offered its adapter: it names neither a time nor a reason"
    elif export.ready_at is not None and export.wait is None:
        yield "that the tenant had its days from when its export was ready: it does not say how many it was granted"


def _unproved_of_replicas(held: PurgeCertificate) -> Iterator[str]:
    for noted in held.replicas:
        if noted.outcome == "expired" and noted.lease_ended_at is None:
            yield f"that {noted.replica_id} had stopped: its record was removed, so the end of its lease is not known"
        if noted.prefix_cache_reset is False:
            yield (
                f"that {noted.replica_id} cleared its prefix cache: requests of other tenants were running. No other "
                "tenant's request can reach what was cached, and it stays in memory until it is overwritten by reuse"
            )


def _unproved_of_subcontractors(held: PurgeCertificate) -> Iterator[str]:
    if not held.subcontractors:
        yield "that no subcontractor holds data of the tenant: the operator declared none"
    for found in held.subcontractors:
        if found.confirmation is None:
            yield f"that {found.subcontractor} destroyed what it held: the operator recorded no confirmation"
        else:
            yield f"that what {found.subcontractor} confirmed is true: ask for document {found.confirmation.reference}"


def _audit_log(held: PurgeCertificate) -> str:
    checkpoint = checkpoint_of(held)
    if checkpoint is None:
        return "no checkpoint: no entry was signed"
    if checkpoint.signed_at < held.key_destroyed_at:
        return f"its first {checkpoint.seq} entries, signed before the destruction: they do not cover it"
    return f"its first {checkpoint.seq} entries, signed {checkpoint.signed_at.isoformat()}, after the key's destruction"
