"""Verifies a tenant's audit log with public keys alone: every entry, every link, every signature."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import rfc8785
from pydantic import ValidationError

from schemas.base.canonical import canonical_json
from schemas.base.contract import Contract, read_tolerant
from schemas.base.identifiers import TenantName
from schemas.base.json_text import parse_json
from schemas.evidence.audit import (
    CHECKPOINT_PREDICATE,
    CHECKPOINT_SECONDS,
    DOUBTED,
    AuditCheckpoint,
    AuditEntry,
    AuditHead,
    CheckpointRef,
    body_sha256,
    genesis,
)
from tenancy.audit.checkpoints import is_dated_back
from tenancy.audit.copy import AuditCopy, StoredBody
from tenancy.audit.due_signatures import overdue
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.envelopes import unverified
from tenancy.evidence.trust import Verifier

PROVES = ("the log is this tenant's: its first entry follows from the tenant's id",)
CHECKPOINTS_PROVE = (
    "up to the last checkpoint no entry was changed, removed, inserted or moved since it was signed",
    "each checkpoint was signed with a trusted key and follows the one before it; a key that was replaced signed "
    "nothing after that",
)
DOES_NOT_PROVE = (
    "that what the entries say is true, or that everything was entered: a signature shows only who stated it",
    "anything about entries after the last checkpoint beyond their order: anyone who may write to the bucket could "
    "have rewritten them",
    "that the log was not cut back to an earlier checkpoint, or to none, together with everything after it, unless you "
    "hold a later checkpoint: keep what `sano audit export` gives you, and compare with --expect-checkpoint",
    "when something happened, beyond what the clocks of the services said",
)


class SigningKey(Contract):
    """A key, and from which checkpoint through which it signed, of those that hold."""

    key_id: str
    first_checkpoint: int
    last_checkpoint: int
    signed_entries: int


class AuditVerdict(Contract):
    """What became of checking one log. It holds when there are no ``problems``.

    ``UNSIGNED``: the only problem is that entries should have been signed long ago. ``not signed yet``: there is no
    problem, and no checkpoint either, since none is due yet. ``doubted_entries`` are about events that were
    contradicted or that nothing could confirm: no fault of the log, and no word of ours.
    """

    tenant: TenantName
    verdict: Literal["holds", "not signed yet", "UNSIGNED", "BROKEN"]
    entries: int
    signed_entries: int
    doubted_entries: int
    checkpoints: int
    last_checkpoint: CheckpointRef | None
    signed_by: tuple[SigningKey, ...] = ()
    problems: tuple[str, ...]
    proves: tuple[str, ...]
    does_not_prove: tuple[str, ...] = DOES_NOT_PROVE


@dataclass
class _Check:
    """The running result of one log."""

    tenant: str
    trusted: Verifier
    problems: list[str] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)
    entries: list[AuditEntry] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    checkpoints: dict[int, tuple[AuditCheckpoint, str]] = field(default_factory=dict)
    signed_by: list[SigningKey] = field(default_factory=list)

    def wrong(self, problem: str) -> None:
        self.problems.append(problem)


def verify_copy(
    copy: AuditCopy,
    trusted: Verifier,
    held: Iterable[dict[str, Any]] = (),
    sign_seconds: float = CHECKPOINT_SECONDS,
) -> AuditVerdict:
    """Check a log, and that the checkpoints that somebody else ``held`` are in it.

    ``trusted`` are the keys that the installation has had: each checkpoint must hold under one of them.
    ``sign_seconds``: the ledger's ``SANO_AUDIT_CHECKPOINT_SECONDS``.
    """
    check = _Check(copy.tenant, trusted)
    _check_entries(check, copy.entries)
    _check_checkpoints(check, copy.checkpoints)
    _check_head(check, copy.head)
    for envelope in held:
        _check_held(check, envelope, "which you hold")
    _check_certificate(check, copy.certificate)
    if not check.hashes:
        check.wrong("there is no entry: nothing was entered yet, or all of it was removed")
    number = max(check.checkpoints, default=0)
    last = check.checkpoints.get(number)
    is_broken = bool(check.problems)
    _check_signed(check, last[0].seq if last else 0, copy.read_at, sign_seconds)
    return AuditVerdict(
        tenant=copy.tenant,
        verdict=_verdict(is_broken, check),
        entries=len(check.hashes),
        signed_entries=last[0].seq if last else 0,
        doubted_entries=sum(entry.kind in DOUBTED for entry in check.entries),
        checkpoints=len(check.checkpoints),
        last_checkpoint=CheckpointRef(number=number, seq=last[0].seq, sha256=last[1]) if last else None,
        signed_by=tuple(check.signed_by),
        problems=tuple(check.problems),
        proves=(*PROVES, *CHECKPOINTS_PROVE) if last else PROVES,
    )


def _verdict(is_broken: bool, check: _Check) -> Literal["holds", "not signed yet", "UNSIGNED", "BROKEN"]:
    if is_broken:
        return "BROKEN"
    if check.problems:
        return "UNSIGNED"
    return "holds" if check.checkpoints else "not signed yet"


def _numbered(check: _Check, stored: Sequence[StoredBody], pattern: str, what: str) -> Iterable[tuple[int, bytes]]:
    """Bodies by their number in the name, in order; names that are none, twins and gaps are problems."""
    found: dict[int, bytes] = {}
    for held in stored:
        match = re.fullmatch(pattern, held.name)
        if match is None or int(match[1]) < 1:
            check.wrong(f"{held.name!r} is not the name of any {what}")
        elif int(match[1]) in found:
            check.wrong(f"{what} {int(match[1])} is there twice")
        else:
            found[int(match[1])] = held.body
    expected = 1
    for number in sorted(found):
        if number > expected:
            gap = str(expected) if number - expected == 1 else f"{expected} to {number - 1}"
            check.wrong(f"{what} {gap} is missing")
        expected = number + 1
        yield number, found[number]


def _check_entries(check: _Check, stored: Sequence[StoredBody]) -> None:
    previous = genesis(check.tenant)
    last = 0
    for seq, body in _numbered(check, stored, r"entries/([0-9]{12})", "entry"):
        check.hashes[seq] = body_sha256(body)
        try:
            is_canonical = canonical_json(parse_json(body)) == body
            entry = read_tolerant(AuditEntry, body)
        except (ValidationError, ValueError, rfc8785.CanonicalizationError):
            check.wrong(f"entry {seq} cannot be read as an entry: its bytes were changed")
        else:
            check.entries.append(entry)
            if not is_canonical:
                check.wrong(f"entry {seq} is not in canonical form: its bytes were changed")
            if entry.seq != seq:
                check.wrong(f"entry {seq} says that it is entry {entry.seq}: it was moved")
            if entry.tenant != check.tenant:
                check.wrong(f"entry {seq} is another tenant's")
            if seq == last + 1 and entry.previous != previous:
                check.wrong(_broken_link(seq))
            twin = check.tags.setdefault(entry.tag, seq)
            if twin != seq:
                check.wrong(f"entry {seq} repeats entry {twin}")
        previous, last = check.hashes[seq], seq


def _broken_link(seq: int) -> str:
    if seq == 1:
        return "entry 1 is not the first of this tenant's log: it was changed, or what was before it was removed"
    return (
        f"entry {seq} does not follow entry {seq - 1}: one of them was changed or moved, or an entry between them was "
        "inserted or removed"
    )


def _check_checkpoints(check: _Check, stored: Sequence[StoredBody]) -> None:
    previous: str | None = genesis(check.tenant)
    last_number, last_seq = 0, 0
    for number, body in _numbered(check, stored, r"checkpoints/([0-9]{8})\.json", "checkpoint"):
        opened = _opened(body, check.trusted)
        if isinstance(opened, str):
            check.wrong(f"checkpoint {number} does not hold: {opened}")
            previous, last_number = None, number
            continue
        signed, key_id = opened
        _note_key(check, key_id, number, signed)
        if (signed.tenant, signed.number) != (check.tenant, number):
            check.wrong(f"checkpoint {number} belongs to another tenant or has another number")
        if number == last_number + 1 and previous is not None and signed.previous != previous:
            check.wrong(f"checkpoint {number} does not follow checkpoint {number - 1}")
        if signed.seq <= last_seq:
            check.wrong(f"checkpoint {number} signs no more entries than the one before")
        if signed.seq not in check.hashes:
            check.wrong(
                f"checkpoint {number} signed {signed.seq} entries, but entry {signed.seq} is missing: the log was cut"
            )
        elif check.hashes[signed.seq] != signed.entry_sha256:
            check.wrong(f"entry {signed.seq} is not the one that checkpoint {number} signed")
        previous, last_number, last_seq = body_sha256(body), number, signed.seq
        check.checkpoints[number] = (signed, previous)


def _note_key(check: _Check, key_id: str, number: int, signed: AuditCheckpoint) -> None:
    """Who stole a key that was replaced could go on signing with it. Where it is known when each key ended, that is
    dated back; where it is not, keys take turns once.
    """
    known, before = check.signed_by, check.checkpoints.get(number - 1)
    if known and known[-1].key_id == key_id:
        known[-1] = known[-1].evolve(last_checkpoint=number, signed_entries=signed.seq)
        return
    if check.trusted.is_dated:
        if before is not None and is_dated_back(signed, before[0]):
            check.wrong(f"checkpoint {number} is by another key than the one before, and dated back behind it")
    elif any(key.key_id == key_id for key in known):
        check.wrong(f"checkpoint {number} is signed with a key that had been replaced before it")
    known.append(SigningKey(key_id=key_id, first_checkpoint=number, last_checkpoint=number, signed_entries=signed.seq))


def _opened(body: bytes, trusted: Verifier) -> tuple[AuditCheckpoint, str] | str:
    """The checkpoint inside an envelope and the id of its key, or why there is none to rely on."""
    try:
        envelope = parse_json(body)
        if canonical_json(envelope) != body:
            return "its bytes were changed"
        statement, key_id = trusted.verified(envelope, CHECKPOINT_PREDICATE)
        return read_tolerant(AuditCheckpoint, statement["predicate"]), key_id
    except BadSignature as error:
        return str(error).removeprefix("refused: ")
    except (ValidationError, ValueError, KeyError, TypeError, rfc8785.CanonicalizationError):
        return "it is not a signed checkpoint"


def _check_head(check: _Check, body: bytes | None) -> None:
    """Not signed, so it proves nothing; but who cuts the log and forgets the head is found by it."""
    if body is None:
        return
    try:
        head = read_tolerant(AuditHead, body)
    except ValidationError:
        return
    end = max(check.hashes, default=0)
    if head.seq > end:
        check.wrong(f"the log ends with entry {end}, but once had {head.seq} entries: it was cut")
    if head.checkpoint is not None and head.checkpoint.number not in check.checkpoints:
        check.wrong(f"checkpoint {head.checkpoint.number} existed once, and is missing or does not hold")


def _check_signed(check: _Check, signed: int, read_at: datetime, sign_seconds: float) -> None:
    unsigned = [entry for entry in check.entries if entry.seq > signed]
    late = [entry.seq for entry in overdue(unsigned, read_at, sign_seconds)]
    if late:
        check.wrong(
            f"{len(late)} of the {len(unsigned)} entries that no checkpoint covers should have been signed before the "
            f"log was read, the first of them entry {late[0]}: the ledger is not running, or checkpoints were removed "
            "and the entries may have been rewritten"
        )


def _check_held(check: _Check, envelope: dict[str, Any], which: str) -> None:
    try:
        body = canonical_json(envelope)
        opened: tuple[AuditCheckpoint, str] | str = _opened(body, check.trusted)
    except rfc8785.CanonicalizationError:  # of a file that somebody holds: any JSON may come
        opened = "it is not a signed checkpoint"
    if isinstance(opened, str):
        raise BadSignature(f"a checkpoint, {which}, does not hold itself: {opened}")
    signed, _ = opened
    if signed.tenant != check.tenant:
        raise Refused("other-tenant", f"refused: a checkpoint, {which}, is another tenant's; give --tenant")
    found = check.checkpoints.get(signed.number)
    if found is None or found[1] != body_sha256(body):
        check.wrong(
            f"checkpoint {signed.number}, {which} and which signed {signed.seq} entries, is not in the log: it "
            "was cut back or rewritten"
        )


def _check_certificate(check: _Check, body: bytes | None) -> None:
    """The log must reach at least as far as when the tenant's purge was certified."""
    if body is None:
        return
    try:
        named = unverified(parse_json(body))["predicate"].get("audit_checkpoint")
        if named is not None:
            _check_held(check, named, "which the certificate of purge beside the log carries")
    except Refused as refusal:
        check.wrong(str(refusal).removeprefix("refused: "))
    except (ValueError, KeyError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
        check.wrong("the certificate of purge beside the log cannot be read")
