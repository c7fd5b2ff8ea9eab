"""What the audit log says about events: everything that identifies a decision, and no name that comes from outside."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger.audit_facts import (
    ACTORS,
    AUDITED,
    DIGESTED,
    PLAIN,
    PSEUDONYMOUS,
    SPECIAL,
    actor,
    facts,
)
from schemas.base.canonical import canonical_json, sha256_hex
from schemas.bus import events
from schemas.bus.content import Committed, InlineContent
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES, EventData
from schemas.evidence.audit import UNLINKABLE, AuditEntry, entry_bytes, genesis
from tenancy.audit.pseudonyms import Pseudonyms
from tests.unit.event_strategies import approved, data_of

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ONE, OTHER = Pseudonyms(b"k" * 32), Pseudonyms(b"l" * 32)
NOT_AUDITED = {events.ReplicaRegistered, events.UsageRecorded, events.OutcomeRecorded}


@pytest.mark.parametrize("model", AUDITED, ids=lambda model: model.type)
def test_every_field_of_an_audited_event_has_a_treatment(model: type[EventData]) -> None:
    """If this fails for a field of yours: declare in consumers/ledger/audit_facts.py how the log may hold it."""
    treatments = [PLAIN, set(PSEUDONYMOUS), DIGESTED, ACTORS, set(SPECIAL)]
    for name in model.model_fields:
        assert sum(name in treated for treated in treatments) == 1, name


def test_only_what_is_no_decision_is_not_audited() -> None:
    left_out = {model for model in EVENT_TYPES.values() if model not in AUDITED}
    assert left_out == NOT_AUDITED


@given(st.sampled_from(AUDITED).flatmap(lambda model: data_of(model.type).map(model.model_validate)))
def test_whatever_an_event_says_its_entry_can_be_written_and_read(data: EventData) -> None:
    told = Event(subject="t1", data=data, time=NOW, source="/sanolith/curation")
    entry = AuditEntry(
        tenant="t1",
        seq=1,
        previous=genesis("t1"),
        tag="tag",
        kind=told.type.removeprefix("sano."),
        time=told.time,
        recorded_at=NOW,
        recorded_while="active",
        actor=actor(told, ONE),
        facts=facts(data, ONE),
    )
    body = entry_bytes(entry)
    assert canonical_json(json.loads(body)) == body
    assert AuditEntry.model_validate_json(body) == entry


def test_an_approval_is_its_commitment_and_pseudonyms() -> None:
    made = approved(example_id="mrn-123456")
    told = facts(made.data, ONE)
    assert told == {"example": ONE.of("example", "mrn-123456"), "version": 1, "commitment": "a" * 64}
    assert actor(made, ONE).model_dump() == {"role": "reviewer", "id": ONE.of("reviewer", "reviewer-1")}
    assert "mrn" not in json.dumps(told)


def test_without_the_key_there_are_no_pseudonyms() -> None:
    made = approved()
    assert facts(made.data, None)["example"] == UNLINKABLE
    assert actor(made, None).id == UNLINKABLE


def test_a_pseudonym_is_the_same_for_the_same_name_and_tenant_and_for_no_other() -> None:
    found = {
        pseudonyms.of(named, name)
        for pseudonyms in (ONE, OTHER)
        for named in ("reviewer", "example", "consent", "export", "reason")
        for name in ("a", "b")
    }
    assert len(found) == 20
    assert ONE.of("example", "a") == Pseudonyms(b"k" * 32).of("example", "a")


def test_what_a_curation_tool_gives_as_reason_is_a_pseudonym_and_what_our_services_give_is_a_code() -> None:
    withdrawn = events.ExampleWithdrawn(example_id="e1", reason_code="mrn-123456")
    assert facts(withdrawn, ONE) == {"example": ONE.of("example", "e1"), "reason": ONE.of("reason", "mrn-123456")}
    failed = events.TrainingFailed(run_id="r1", attempts=3, reason_code="worker-died")
    assert facts(failed, None)["reason_code"] == "worker-died"
    asked = events.ExportRequested(export_id="mrn-123456", requested_by="op")
    assert facts(asked, ONE) == {"export": ONE.of("export", "mrn-123456")}


def test_inline_content_is_its_commitment_only() -> None:
    jwe = f"{'e' * 40}.{'e' * 8}.{'e' * 8}.{'e' * 8}.{'e' * 8}"
    inline = Committed(reference=InlineContent(jwe=jwe), commitment="c" * 64)
    data = approved().data.evolve(content=inline)
    assert facts(data, ONE)["commitment"] == "c" * 64
    assert "eeee" not in json.dumps(facts(data, ONE))


def test_a_receipt_is_its_digest_and_what_has_no_canonical_form_is_said_to_have_none() -> None:
    evicted = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt={"a": 1})
    assert facts(evicted, None)["receipt_sha256"] == sha256_hex({"a": 1})
    for wild in ({"a": 2**60}, {"a": "\ud800"}):
        told = facts(evicted.evolve(receipt=wild), None)
        assert told["receipt_sha256"] == "unreadable"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/sanolith/curation", "curation"),
        ("/sanolith/training-worker", "training-worker"),
        ("/ehr/ward of Dr Who", "external"),
        ("/sanolith/Dr Who", "external"),
        ("/sanolith/", "external"),
        (f"/sanolith/{'x' * 41}", "external"),
    ],
)
def test_a_source_is_named_only_if_it_is_one_of_ours(source: str, said: str) -> None:
    made = Event(subject="t1", data=events.TrainingStarted(run_id="r", fence=1), time=NOW, source=source)
    assert actor(made, None).id == said


def test_an_operator_is_named_as_given() -> None:
    for data in (
        events.TrainingRequested(run_id="r", trigger="operator", requested_by="op-7"),
        events.AdapterRolledBack(adapter_digest=None, previous_digest="a" * 64, activation=2, requested_by="op-7"),
        events.TenantChurned(requested_by="op-7"),
    ):
        told = Event(subject="t1", data=data, time=NOW, source="/sanolith/operators")
        assert actor(told, None).model_dump() == {"role": "operator", "id": "op-7"}
        assert "op-7" not in json.dumps(facts(data, None))
