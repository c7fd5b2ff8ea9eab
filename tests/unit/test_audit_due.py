"""What should be signed by now and is not, is found; and of what is not signed nothing is claimed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from producers.queries.audit_copy import read_copy
from schemas.base.canonical import canonical_json
from schemas.evidence.audit import (
    CHECKPOINT_SECONDS,
    Actor,
    AuditEntry,
    body_sha256,
    entry_bytes,
    genesis,
)
from schemas.evidence.statements import PURGE_PREDICATE
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.copy import AuditCopy, StoredBody, load_copy, write_copy
from tenancy.audit.due_signatures import GRACE
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.audit.verification import AuditVerdict, verify_copy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.unit.operator_parts import certificate, signed_certificate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = TenantId("t1")
SIGNER, STRANGER = AllKeys.made(), AllKeys.made()
DUE = timedelta(seconds=CHECKPOINT_SECONDS)
A_MOMENT = timedelta(seconds=1)


async def _made(kinds: Sequence[str], signed: int) -> AuditCopy:
    memory = MemoryObjectStore()
    log = AuditLog(memory, lambda: NOW)
    for number, kind in enumerate(kinds, start=1):
        await log.append(TENANT, AuditRecord(f"o{number}", kind, NOW, Actor(role="service", id="x")))
        if number == signed:
            await Checkpointer(log, SIGNER).seal(TENANT)
    tenancy = assemble(memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
    return await read_copy(tenancy, TENANT)


@cache
def log(*kinds: str, signed: int = 0) -> AuditCopy:
    """All of it was entered and read at the same moment."""
    return asyncio.run(_made(kinds, signed))


def verdict(copy: AuditCopy, later: timedelta = timedelta(), sign_seconds: float = CHECKPOINT_SECONDS) -> AuditVerdict:
    read = replace(copy, read_at=NOW + later)
    return verify_copy(read, SIGNER.trust, sign_seconds=sign_seconds)


def stripped(copy: AuditCopy) -> AuditCopy:
    """Half of the entries and all checkpoints removed, actors renamed, the rest chained anew, the head forgotten."""
    previous, entries = genesis(copy.tenant), []
    for seq, stored in enumerate(copy.entries[::2], start=1):
        made = AuditEntry.model_validate_json(stored.body)
        changed = {"seq": seq, "previous": previous, "actor": Actor(role="operator", id="innocent")}
        body = entry_bytes(made.evolve(**changed))
        previous = body_sha256(body)
        entries.append(StoredBody(f"entries/{seq:012d}", body))
    return replace(copy, entries=tuple(entries), checkpoints=(), head=None)


APPROVALS = ("example.approved",) * 6


def test_a_log_that_was_stripped_of_every_checkpoint_does_not_hold() -> None:
    told = verdict(stripped(log(*APPROVALS, signed=6)), DUE + GRACE + A_MOMENT)
    assert told.verdict == "UNSIGNED"
    assert told.problems[0].startswith("3 of the 3 entries that no checkpoint covers should have been signed")
    assert not [line for line in told.proves if "checkpoint" in line]


def test_a_log_that_is_too_young_for_a_checkpoint_is_not_signed_yet_and_nothing_is_claimed_of_one() -> None:
    told = verdict(log(*APPROVALS), DUE + GRACE)
    assert (told.verdict, told.problems) == ("not signed yet", ())
    assert not [line for line in told.proves if "checkpoint" in line]
    signed = verdict(log(*APPROVALS, signed=6), timedelta(days=365))
    assert (signed.verdict, signed.problems) == ("holds", ())
    assert [line for line in signed.proves if "up to the last checkpoint" in line]


def test_entries_behind_the_last_checkpoint_are_found_once_they_are_due() -> None:
    copy = log(*APPROVALS, signed=4)
    assert verdict(copy, DUE + GRACE).verdict == "holds"
    told = verdict(copy, DUE + GRACE + A_MOMENT)
    assert told.verdict == "UNSIGNED"
    assert told.problems[0].startswith("2 of the 2 entries")
    assert "the first of them entry 5" in told.problems[0]
    assert verdict(copy, DUE + GRACE + A_MOMENT, 2 * CHECKPOINT_SECONDS).verdict == "holds", "as the ledger's"


@pytest.mark.parametrize("kind", ["purge.fenced", "purge.completed"])
def test_the_end_of_a_tenants_life_is_due_at_once(kind: str) -> None:
    copy = log(*APPROVALS, kind, "event.refused", signed=6)
    assert verdict(copy, GRACE).verdict == "holds"
    told = verdict(copy, GRACE + A_MOMENT)
    assert told.verdict == "UNSIGNED"
    assert told.problems[0].startswith("1 of the 2 entries")
    assert "entry 7" in told.problems[0]


def test_an_entry_from_the_future_is_not_young_for_ever() -> None:
    assert verdict(log(*APPROVALS), -GRACE).verdict == "not signed yet"
    assert verdict(log(*APPROVALS), -GRACE - A_MOMENT).verdict == "UNSIGNED"


def test_what_is_broken_is_not_only_unsigned() -> None:
    copy = log(*APPROVALS, signed=4)
    gap = replace(copy, entries=copy.entries[:1] + copy.entries[2:])
    assert verdict(gap, timedelta(days=1)).verdict == "BROKEN"


@pytest.mark.parametrize("read_at", [None, "2026-11-24T09:00:00", "1764000000", 5])
def test_a_file_that_does_not_say_when_it_was_read_is_no_copy(read_at: object, tmp_path: Path) -> None:
    """Without that time nobody could tell a young log from one whose checkpoints were removed."""
    path = tmp_path / "t1.jsonl"
    write_copy(log(*APPROVALS), path)
    heading, *lines = path.read_text().splitlines()
    said = {name: value for name, value in json.loads(heading).items() if name != "read_at"}
    path.write_text("\n".join([json.dumps(said if read_at is None else {**said, "read_at": read_at}), *lines]))
    with pytest.raises(Refused, match="no copy by"):
        load_copy(path)


def test_a_copy_says_when_it_was_read_and_carries_the_certificate(tmp_path: Path) -> None:
    path = tmp_path / "t1.jsonl"
    copy = replace(log(*APPROVALS, signed=6), certificate=b'{"payload": "x"}')
    write_copy(copy, path)
    assert load_copy(path) == copy
    later = NOW + timedelta(days=30)
    write_copy(log(*APPROVALS, signed=4), path)
    assert load_copy(path).read_at == NOW != later, "a young copy does not get old by lying in a drawer"
    assert verify_copy(load_copy(path), SIGNER.trust).verdict == "holds"


# --- the certificate of purge


def certified(copy: AuditCopy, checkpoint: object) -> AuditCopy:
    made = json.loads(json.dumps(signed_certificate(SIGNER, certificate(audit_checkpoint=checkpoint))))
    return replace(copy, certificate=canonical_json(made))


def test_the_log_reaches_at_least_as_far_as_the_certificate_beside_it() -> None:
    whole = log(*APPROVALS, signed=6)
    carried = json.loads(whole.checkpoints[0].body)
    assert verdict(certified(whole, carried)).problems == ()
    assert verdict(certified(whole, None)).problems == ()
    told = verdict(certified(stripped(whole), carried))
    assert told.verdict == "BROKEN"
    assert "which the certificate of purge beside the log carries" in told.problems[0]


@pytest.mark.parametrize("body", [b"garbage", b"{}", b'{"payload": "e30="}', b"[" * 100_000])
def test_a_certificate_that_cannot_be_read_is_said(body: bytes) -> None:
    told = verdict(replace(log(*APPROVALS, signed=6), certificate=body))
    assert told.problems == ("the certificate of purge beside the log cannot be read",)


@pytest.mark.parametrize("forged", [{}, [], {"payload": "e30=", "payloadType": "x", "signatures": []}])
def test_a_certificates_checkpoint_that_does_not_hold_is_a_problem_of_that_log_and_stops_no_other(
    forged: object,
) -> None:
    made = SIGNER.trust.verify(signed_certificate(SIGNER, certificate()), PURGE_PREDICATE)
    made["predicate"]["audit_checkpoint"] = forged
    told = verdict(replace(log(*APPROVALS, signed=6), certificate=canonical_json(SIGNER.sign(made))))
    assert len(told.problems) == 1
    assert "which the certificate of purge beside the log carries" in told.problems[0]
