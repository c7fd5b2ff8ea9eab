"""Whatever is done to a signed audit log is found, with the place where it was done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producers.queries.audit_copy import read_copy
from schemas.base.canonical import canonical_json
from schemas.evidence.audit import CHECKPOINT_PREDICATE, Actor, AuditEntry, body_sha256, entry_bytes, genesis
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.copy import AuditCopy, StoredBody, load_copy, write_copy
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.audit.verification import verify_copy
from tenancy.audit.witness import read_held
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import BadSignature, Refused
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNER, STRANGER = AllKeys.made(), AllKeys.made()
ENTRIES, SIGNED_AFTER, UNSIGNED = 12, (4, 7, 12), 3
SEQS = st.integers(1, ENTRIES)


async def _made(tenant: str, signer: AllKeys, unsigned: int) -> AuditCopy:
    memory = MemoryObjectStore()
    log = AuditLog(memory, lambda: NOW)
    for number in range(1, ENTRIES + unsigned + 1):
        record = AuditRecord(f"o{number}", "example.approved", NOW, Actor(role="service", id="x"), {"version": number})
        await log.append(TenantId(tenant), record)
        if number in SIGNED_AFTER:
            await Checkpointer(log, signer).seal(TenantId(tenant))
    tenancy = assemble(memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
    return await read_copy(tenancy, TenantId(tenant))


@cache
def log(tenant: str = "t1", signer: AllKeys = SIGNER, unsigned: int = UNSIGNED) -> AuditCopy:
    """Twelve entries under three checkpoints, and some that none covers yet."""
    return asyncio.run(_made(tenant, signer, unsigned))


def problems(copy: AuditCopy, held: tuple[dict[str, Any], ...] = ()) -> tuple[str, ...]:
    return verify_copy(copy, SIGNER.trust, held).problems


def with_body(copy: AuditCopy, seq: int, body: bytes) -> AuditCopy:
    entries = list(copy.entries)
    entries[seq - 1] = StoredBody(entries[seq - 1].name, body)
    return replace(copy, entries=tuple(entries))


def entry(copy: AuditCopy, seq: int) -> AuditEntry:
    return AuditEntry.model_validate_json(copy.entries[seq - 1].body)


def rechained(copy: AuditCopy) -> AuditCopy:
    """As somebody would who may write to the bucket, knows the format, and lacks only the signing key."""
    previous, entries = genesis(copy.tenant), []
    for seq, stored in enumerate(copy.entries, start=1):
        made = AuditEntry.model_validate_json(stored.body).evolve(seq=seq, previous=previous)
        body = entry_bytes(made)
        previous = body_sha256(body)
        entries.append(StoredBody(f"entries/{seq:012d}", body))
    return replace(copy, entries=tuple(entries))


def test_a_log_that_nobody_touched_holds() -> None:
    verdict = verify_copy(log(), SIGNER.trust)
    assert verdict.problems == ()
    assert (verdict.entries, verdict.signed_entries, verdict.checkpoints) == (ENTRIES + UNSIGNED, ENTRIES, 3)
    assert verdict.last_checkpoint is not None
    assert verdict.last_checkpoint.number == 3


@given(SEQS, st.data())
def test_any_changed_byte_of_an_entry_is_found_at_that_entry(seq: int, data: st.DataObject) -> None:
    body = bytearray(log().entries[seq - 1].body)
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    found = problems(with_body(log(), seq, bytes(body)))
    assert any(f"entry {seq}" in problem for problem in found)


@given(SEQS, st.sampled_from(["kind", "time", "recorded_at", "recorded_while", "actor", "facts", "tag"]))
def test_a_changed_field_is_found_even_if_everything_behind_it_is_chained_anew(seq: int, name: str) -> None:
    other = {
        "kind": "example.rejected",
        "time": datetime(2025, 1, 1, tzinfo=UTC),
        "recorded_at": datetime(2025, 1, 1, tzinfo=UTC),
        "recorded_while": "purged",
        "actor": Actor(role="operator", id="somebody-else"),
        "facts": {"version": 99},
        "tag": "another",
    }
    changed = entry_bytes(entry(log(), seq).evolve(**({name: other[name]})))
    found = problems(with_body(log(), seq, changed))
    assert any(f"entry {seq}" in problem for problem in found)
    number = next(at for at, signed in enumerate(SIGNED_AFTER, start=1) if signed >= seq)
    found = problems(rechained(with_body(log(), seq, changed)))
    assert f"entry {SIGNED_AFTER[number - 1]} is not the one that checkpoint {number} signed" in found


@given(SEQS)
def test_a_removed_entry_is_found_with_or_without_closing_the_gap(seq: int) -> None:
    left = tuple(stored for at, stored in enumerate(log().entries, start=1) if at != seq)
    assert f"entry {seq} is missing" in problems(replace(log(), entries=left))
    assert problems(rechained(replace(log(), entries=left)))


@given(SEQS, SEQS)
def test_entries_in_another_order_are_found(one: int, other: int) -> None:
    assume(one != other)
    entries = list(log().entries)
    bodies = [stored.body for stored in entries]
    bodies[one - 1], bodies[other - 1] = bodies[other - 1], bodies[one - 1]
    swapped = replace(
        log(), entries=tuple(StoredBody(stored.name, body) for stored, body in zip(entries, bodies, strict=True))
    )
    found = problems(swapped)
    assert f"entry {one} says that it is entry {other}: it was moved" in found
    assert problems(rechained(swapped))


@given(SEQS, SEQS)
def test_an_entry_that_was_put_in_is_found(before: int, copied: int) -> None:
    entries = list(log().entries)
    entries.insert(before - 1, entries[copied - 1])
    found = problems(rechained(replace(log(), entries=tuple(entries))))
    assert any("repeats entry" in problem for problem in found)
    stranger = replace(entries[before - 1], body=entry_bytes(entry(log(), copied).evolve(tag="new")))
    entries[before - 1] = stranger
    assert problems(rechained(replace(log(), entries=tuple(entries))))


@given(st.integers(0, ENTRIES - 1))
def test_a_log_that_was_cut_behind_a_checkpoints_back_is_found(kept: int) -> None:
    cut = replace(log(), entries=log().entries[:kept], head=None)
    assert any("the log was cut" in problem for problem in problems(cut))


@pytest.mark.parametrize("number", [1, 2])
def test_a_log_that_was_cut_back_to_a_checkpoint_is_found_by_who_holds_a_later_one(number: int) -> None:
    cut = replace(
        log(), entries=log().entries[: SIGNED_AFTER[number - 1]], checkpoints=log().checkpoints[:number], head=None
    )
    assert problems(cut) == (), "alone it is a whole log: this is what the witness is for"
    assert any("it was cut" in problem for problem in problems(replace(cut, head=log().head))), "the head was forgotten"
    witness = json.loads(log().checkpoints[-1].body)
    assert any("which you hold" in problem for problem in problems(cut, (witness,)))
    assert problems(log(), tuple(json.loads(stored.body) for stored in log().checkpoints)) == ()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_checkpoint_that_was_removed_changed_or_forged_is_found(number: int) -> None:
    at = number - 1
    checkpoints = list(log().checkpoints)
    assert problems(replace(log(), checkpoints=tuple(checkpoints[:at] + checkpoints[at + 1 :])))
    forged = list(checkpoints)
    forged[at] = StoredBody(checkpoints[at].name, log("t1", STRANGER).checkpoints[at].body)
    found = problems(replace(log(), checkpoints=tuple(forged)))
    assert any(f"checkpoint {number} does not hold" in problem for problem in found)
    spelled = list(checkpoints)
    spelled[at] = StoredBody(checkpoints[at].name, checkpoints[at].body + b"\n")
    found = problems(replace(log(), checkpoints=tuple(spelled)))
    assert f"checkpoint {number} does not hold: its bytes were changed" in found


def test_checkpoints_in_another_order_or_of_another_log_are_found() -> None:
    first, second, third = log().checkpoints
    swapped = (StoredBody(first.name, second.body), StoredBody(second.name, first.body), third)
    assert any("another number" in problem for problem in problems(replace(log(), checkpoints=swapped)))
    # Signed by the same installation, about other entries of the same tenant.
    again = asyncio.run(_made("t1", SIGNER, 0))
    assert problems(replace(log(), checkpoints=again.checkpoints))


def test_a_checkpoint_that_was_signed_anew_with_the_right_key_does_not_fit_between_the_others() -> None:
    signed = SIGNER.trust.verify(json.loads(log().checkpoints[1].body), CHECKPOINT_PREDICATE)
    signed["predicate"]["signed_at"] = "2027-01-01T00:00:00Z"
    checkpoints = list(log().checkpoints)
    checkpoints[1] = StoredBody(checkpoints[1].name, canonical_json(SIGNER.sign(signed)))
    assert problems(replace(log(), checkpoints=tuple(checkpoints))) == ("checkpoint 3 does not follow checkpoint 2",)


def test_another_tenants_log_is_not_this_tenants() -> None:
    assert any("another tenant's" in problem for problem in problems(replace(log("t2"), tenant="t1")))
    with pytest.raises(Refused):
        verify_copy(log(), SIGNER.trust, [json.loads(log("t2").checkpoints[0].body)])


def test_a_checkpoint_that_nobody_signed_is_no_witness() -> None:
    with pytest.raises(BadSignature):
        verify_copy(log(), SIGNER.trust, [json.loads(log("t1", STRANGER).checkpoints[0].body)])


def test_an_empty_log_does_not_hold() -> None:
    assert problems(AuditCopy("t1", (), (), NOW)) == (
        "there is no entry: nothing was entered yet, or all of it was removed",
    )


def test_names_that_are_none_and_bodies_that_are_none_are_found() -> None:
    odd = (*log().entries, StoredBody("entries/13", b"x"), StoredBody("entries/000000000000", b"x"))
    assert len(problems(replace(log(), entries=odd))) == 2
    found = problems(with_body(log(), 5, b"\xff\xfe nothing"))
    assert "entry 5 cannot be read as an entry: its bytes were changed" in found
    found = problems(with_body(log(), 5, json.dumps(json.loads(log().entries[4].body)).encode()))
    assert "entry 5 is not in canonical form: its bytes were changed" in found
    twice = (*log().entries, log().entries[3])
    assert "entry 4 is there twice" in problems(replace(log(), entries=twice))


def test_the_end_that_no_checkpoint_covers_is_chained_and_no_more() -> None:
    """What the verdict says that it does not prove: the very last entries can be written anew until they are signed."""
    last = ENTRIES + UNSIGNED
    changed = entry_bytes(entry(log(), last).evolve(kind="example.rejected"))
    assert problems(with_body(log(), last, changed)) == ()
    before = entry_bytes(entry(log(), last - 1).evolve(kind="example.rejected"))
    assert any(f"entry {last} does not follow" in problem for problem in problems(with_body(log(), last - 1, before)))


def test_a_copy_is_the_log_byte_for_byte_also_where_it_is_broken(tmp_path: Path) -> None:
    broken = with_body(log(), 5, b"\xff\xfe\x00 nothing\n")
    for copy in (log(), broken):
        write_copy(copy, tmp_path / "copies" / "t1.jsonl")
        assert load_copy(tmp_path / "copies" / "t1.jsonl") == copy
    witness = read_held(tmp_path / "copies" / "t1.jsonl")
    assert witness == [json.loads(stored.body) for stored in log().checkpoints]
    (tmp_path / "one.json").write_bytes(log().checkpoints[1].body)
    assert read_held(tmp_path / "one.json") == [json.loads(log().checkpoints[1].body)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x", "tenant": "t1"}', "nothing"])
def test_a_file_that_is_no_copy_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(Refused):
        load_copy(tmp_path / "x")
    with pytest.raises(Refused):
        read_held(tmp_path / "x")
    with pytest.raises(Refused):
        load_copy(tmp_path / "nowhere")


@pytest.mark.parametrize("odd", [2**70, float("inf"), "\ud800"], ids=["huge", "infinite", "half a character"])
def test_a_held_file_with_what_has_no_canonical_form_is_refused_as_no_checkpoint(odd: object) -> None:
    with pytest.raises(BadSignature, match="does not hold itself: it is not a signed checkpoint"):
        problems(log(), ({**json.loads(log().checkpoints[0].body), "odd": odd},))


def test_an_entry_of_a_newer_release_with_a_field_of_its_own_holds() -> None:
    previous, entries = genesis("t1"), []
    for seq in (1, 2):
        value = {**entry(log(), seq).model_dump(mode="json"), "previous": previous, "newer": True}
        body = canonical_json(value)
        previous = body_sha256(body)
        entries.append(StoredBody(f"entries/{seq:012d}", body))
    assert problems(AuditCopy("t1", tuple(entries), (), NOW)) == ()
