"""Verifies a signed document offline, with public keys alone: what it proves and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.base.contract import read_tolerant
from schemas.base.json_text import parse_json
from schemas.evidence.statements import (
    EVICTION_PREDICATE,
    PURGE_PREDICATE,
    TRAINING_PREDICATE,
    WITHDRAWAL_PREDICATE,
    TrainingManifest,
)
from schemas.models.adapter_files import AdapterRefused, config_sha256
from schemas.models.model_digest import file_sha256
from schemas.objects import object_keys
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.envelopes import opened, unverified
from tenancy.evidence.eviction_receipts import complete_eviction
from tenancy.evidence.keys import PublicKey
from tenancy.evidence.purge_certificate import checked_certificate
from tenancy.evidence.training_manifest import require_consistent
from tenancy.evidence.trust import Verifier
from tenancy.evidence.verdict import COUNTERSIGNED, SIGNED, TRUST, Verdict
from tenancy.evidence.withdrawal_receipt import checked_withdrawal
from tenancy.platform.given_files import read_given


def verify_file(path: Path, verifier: Verifier, second: PublicKey | None = None) -> Verdict:
    """Check a certificate of purge, a training manifest, or a receipt of an eviction or a withdrawal.

    Beside a manifest, the adapter's files are checked against it where they are there. ``second`` is the key of who
    countersigned it, and then that signature must be there and hold. Raises :class:`Refused` for what is no such
    document or says itself that it proves nothing, and :class:`BadSignature` for one that does not hold.
    """
    envelope = read_signed(path)
    verdict = checked(path, envelope, verifier)
    signatures, proved = ["the signer's is good"], verdict.proves
    if second is not None:
        require_another(second, verifier)
        try:
            opened(envelope, _claimed_type(path, envelope), second)
        except BadSignature:
            raise BadSignature("the verifier's signature is not in it, or does not hold; the signer's does") from None
        signatures.append("the verifier's, by another key, is good too")
        proved = (*proved, COUNTERSIGNED)
    if unchecked := len(envelope["signatures"]) - len(signatures):
        signatures.append(f"{unchecked} more in it not checked, since --verifier-key did not name the key")
    facts = {"signatures": "; ".join(signatures), **verdict.facts}
    return verdict.evolve(facts=facts, proves=proved)


def require_another(second: PublicKey, first: Verifier) -> None:
    """Raises :class:`Refused` where the verifier's key is the installation's: one key signs for one role."""
    if first.has(second.key_id):
        raise Refused("same-key", "refused: the verifier's key is the signer's own; a verifier has a key of its own")


def checked(path: Path, envelope: dict[str, Any], verifier: Verifier) -> Verdict:
    """What the document ``envelope``, read from ``path``, proves by the signature of one key. Raises as
    :func:`verify_file`.
    """
    predicate_type = _claimed_type(path, envelope)
    if predicate_type not in _CHECKS:
        raise Refused("unknown-document", f"refused: {path} is signed, but not a document that this version knows")
    statement = verifier.verify(envelope, predicate_type)
    try:
        return _CHECKS[predicate_type](path, statement)
    except (ValidationError, KeyError):
        raise BadSignature(f"{path} is signed, but its statement lacks what such a document must hold") from None


def read_signed(path: Path) -> dict[str, Any]:
    """The envelope in a file. Nothing of it is checked. Raises :class:`Refused`."""
    body = read_given(path)
    try:
        envelope = parse_json(body)
    except ValueError:
        raise _no_envelope(path) from None
    if not isinstance(envelope, dict):
        raise _no_envelope(path)
    return envelope


def _claimed_type(path: Path, envelope: dict[str, Any]) -> str:
    """What the document says it is. Not believed: the check of the signature asks for exactly this type."""
    try:
        return str(unverified(envelope)["predicateType"])
    except (KeyError, ValueError):
        raise _no_envelope(path) from None


def _no_envelope(path: Path) -> Refused:
    return Refused(
        "not-signed", f"refused: {path} is not a signed statement (DSSE); give a certificate, manifest or receipt"
    )


def _manifest(path: Path, statement: dict[str, Any]) -> Verdict:
    held = read_tolerant(TrainingManifest, statement["predicate"])
    require_consistent(held)
    beside = _files_beside(path.parent, held)
    return Verdict(
        kind="training manifest",
        facts={
            "tenant": held.tenant,
            "adapter": held.adapter_digest,
            "run": f"{held.run_id}, attempt with fence {held.fence}",
            "base model": f"{held.base_model} ({held.base_model_digest})",
            "training set": f"{held.training_set.set_id}, {len(held.training_set.entries)} examples",
            "left out": f"{len(held.left_out)} examples, and {len(held.ineligible)} that were not eligible",
            "redaction gate": ", ".join(sorted({f"{e.gate.gate} {e.gate.version}" for e in held.training_set.entries})),
            "trained": f"{held.started_at.isoformat()} to {held.finished_at.isoformat()}",
            "files beside it": beside,
        },
        proves=(
            SIGNED,
            "its signer states that this training set, with these settings, made the adapter of this digest",
            *(("the adapter's files in this folder are the ones that it speaks of",) if beside != "none" else ()),
        ),
        does_not_prove=(
            TRUST,
            "what the examples said: it holds salted commitments, which can be checked only with text and salt",
            "that training again gives the same weights, or that the reviewers were right",
            *(("anything about weights: there are none beside it",) if beside == "none" else ()),
        ),
    )


def _files_beside(directory: Path, held: TrainingManifest) -> str:
    weights, config = directory / object_keys.ADAPTER_WEIGHTS, directory / object_keys.ADAPTER_CONFIG
    if not (weights.is_file() and config.is_file()):
        return "none"
    try:
        is_same = (file_sha256(weights), config_sha256(config.read_bytes())) == (
            held.weights_sha256,
            held.config_sha256,
        )
    except AdapterRefused:
        is_same = False
    if not is_same:
        raise BadSignature(f"{weights.name} or {config.name} beside it is not the file that it speaks of")
    return "match"


def _receipt(path: Path, statement: dict[str, Any]) -> Verdict:
    held = complete_eviction(statement)
    return Verdict(
        kind="eviction receipt",
        facts={
            "tenant": held.tenant,
            "replica": held.replica_id,
            "process": held.incarnation,
            "cause": held.cause_id,
            "evicted": f"{len(held.evicted)} adapters at {held.evicted_at.isoformat()}",
            "requests aborted": str(held.requests_aborted),
            "prefix cache": "cleared"
            if held.prefix_cache_reset
            else "not cleared: requests of other tenants were running",
        },
        proves=(
            SIGNED,
            "its signer states that this replica deleted the tenant's files and overwrote its slots, that its engine "
            "lists none of the adapters that were removed, and that no request can reach cached blocks that were not "
            "cleared, since their key contains a salt of the tenant",
        ),
        does_not_prove=(
            TRUST,
            "anything about other replicas or other processes of this one, or about what this one loaded later",
        ),
    )


_CHECKS: dict[str, Callable[[Path, dict[str, Any]], Verdict]] = {
    PURGE_PREDICATE: checked_certificate,
    TRAINING_PREDICATE: _manifest,
    EVICTION_PREDICATE: _receipt,
    WITHDRAWAL_PREDICATE: checked_withdrawal,
}
