"""``sano verify``: a signed document holds or it does not, offline, and says what that is worth."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.base.canonical import canonical_json
from schemas.evidence.statements import EVICTION_PREDICATE, WITHDRAWAL_PREDICATE, eviction_subject, statement
from schemas.objects import object_keys
from schemas.objects.purges import PurgeExport, StoreRefusal
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.withdrawals import RetiredAdapter, WithdrawalReceipt, withdrawal_subject
from schemas.tenant.holds import LegalHold
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.verification import verify_file
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tests.fixtures.all_keys import AllKeys
from tests.unit.operator_parts import (
    NOW,
    adapter_files,
    certificate,
    manifest,
    signed_certificate,
    signed_manifest,
    signed_receipt,
)

EVICTED = certificate().replicas[0]
REFUSAL = StoreRefusal(store="objects.runs", reason_code="access-denied", count=1, since=NOW)
HOLD = LegalHold(hold_id="h1", reason_code="litigation", placed_by="op", placed_at=NOW)


@pytest.fixture
def signer() -> AllKeys:
    return AllKeys.made()


def saved(tmp_path: Path, envelope: Any) -> Path:
    path = tmp_path / "document.json"
    path.write_text(json.dumps(envelope))
    return path


def test_a_certificate_says_what_it_proves_and_what_it_does_not(signer: AllKeys, tmp_path: Path) -> None:
    verdict = verify_file(saved(tmp_path, signed_certificate(signer, certificate())), signer.trust)
    assert verdict.kind == "certificate of purge"
    assert verdict.facts["tenant"] == "t1"
    assert "within the deadline" in verdict.facts["completed"]
    assert any("data key was destroyed" in line for line in verdict.proves)
    assert any("copies outside the stores" in line for line in verdict.does_not_prove)
    assert any("state.current" in line for line in verdict.does_not_prove)
    assert any("backups" in line for line in verdict.does_not_prove)
    assert any("no legal hold was open" in line for line in verdict.proves)


def test_a_certificate_tells_of_holds_exports_exceptions_and_expired_replicas(signer: AllKeys, tmp_path: Path) -> None:
    told = certificate(
        holds=(HOLD.evolve(released_at=NOW + timedelta(seconds=10), released_by="op"),),
        export=PurgeExport(adapter_digest="a" * 64, waits_until=NOW, ready_at=NOW),
        exceptions=(REFUSAL.evolve(until=NOW + timedelta(minutes=1)),),
        replicas=(EVICTED.evolve(outcome="expired", receipt_sha256=None),),
    )
    facts = verify_file(saved(tmp_path, signed_certificate(signer, told)), signer.trust).facts
    assert "h1 (litigation)" in facts["legal holds"]
    assert "not taken by" in facts["export"]
    assert facts["kept back for a while"] == "objects.runs (access-denied)"
    assert facts["replicas"] == "replica-1 expired"


@pytest.mark.parametrize("was_reset", [True, False, None])
def test_a_certificate_tells_of_a_prefix_cache_that_was_not_dropped(
    was_reset: bool | None, signer: AllKeys, tmp_path: Path
) -> None:
    told = certificate(replicas=(EVICTED.evolve(prefix_cache_reset=was_reset),))
    verdict = verify_file(saved(tmp_path, signed_certificate(signer, told)), signer.trust)
    said = [line for line in verdict.does_not_prove if "replica-1 cleared its prefix cache" in line]
    assert bool(said) == (was_reset is False)


def test_a_certificate_that_came_too_late_says_so(signer: AllKeys, tmp_path: Path) -> None:
    late = certificate(requested_at=NOW - timedelta(days=30), deadline=NOW)
    verdict = verify_file(saved(tmp_path, signed_certificate(signer, late)), signer.trust)
    assert "AFTER the deadline" in verdict.facts["completed"]


def test_no_single_byte_of_a_certificate_can_be_changed(signer: AllKeys, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    original = canonical_json(signed_certificate(signer, certificate()))  # as the purge writes it
    accepted = []
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        try:
            verify_file(path, signer.trust)
            accepted.append(bytes(changed[max(0, position - 10) : position + 10]))
        except Refused:
            pass
    assert accepted == []


def test_a_document_of_another_signer_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    path = saved(tmp_path, signed_certificate(AllKeys.made(), certificate()))
    with pytest.raises(BadSignature):
        verify_file(path, signer.trust)


def test_a_signed_certificate_that_contradicts_itself_is_refused_with_each_way_in_which_it_does(
    signer: AllKeys, tmp_path: Path
) -> None:
    """``test_certificate_rules`` has an alteration for each."""
    path = saved(tmp_path, signed_certificate(signer, certificate(residual=1, keys=())))
    with pytest.raises(BadSignature, match="the purge was not complete; the certificate does not say that the tenant"):
        verify_file(path, signer.trust)


def test_a_certificate_about_another_tenant_than_its_subject_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    held = certificate()
    envelope = signer.sign(statement("urn:sanolith:predicate:purge-certificate:v1", {"tenant:t2": "e" * 64}, held))
    with pytest.raises(BadSignature, match="subject is not the tenant"):
        verify_file(saved(tmp_path, envelope), signer.trust)


def test_a_manifest_is_checked_against_the_adapter_beside_it(signer: AllKeys, tmp_path: Path) -> None:
    files = adapter_files(1)
    path = saved(tmp_path, signed_manifest(signer, manifest("t1", files)))
    alone = verify_file(path, signer.trust)
    assert alone.facts["files beside it"] == "none"
    assert any("anything about weights" in line for line in alone.does_not_prove)
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    assert verify_file(path, signer.trust).facts["files beside it"] == "match"
    (tmp_path / object_keys.ADAPTER_WEIGHTS).write_bytes(adapter_files(2)[object_keys.ADAPTER_WEIGHTS])
    with pytest.raises(BadSignature, match="is not the file that it speaks of"):
        verify_file(path, signer.trust)


def test_a_manifest_whose_digest_its_parts_do_not_give_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    forged = manifest("t1", adapter_files()).evolve(adapter_digest="f" * 64)
    with pytest.raises(BadSignature, match="not the one that its parts determine"):
        verify_file(saved(tmp_path, signed_manifest(signer, forged)), signer.trust)


def test_a_receipt_of_an_eviction_says_which_replica_signed_it(signer: AllKeys, tmp_path: Path) -> None:
    verdict = verify_file(saved(tmp_path, signed_receipt(signer)), signer.trust)
    assert (verdict.kind, verdict.facts["replica"]) == ("eviction receipt", "replica-1")
    assert verdict.facts["process"] == "process-1"
    assert any("other processes of this one" in line for line in verdict.does_not_prove)


def test_a_receipt_that_does_not_name_its_process_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    unnamed = signer.trust.verify(signed_receipt(signer), EVICTION_PREDICATE)
    del unnamed["predicate"]["incarnation"]
    with pytest.raises(BadSignature, match="lacks what such a document must hold"):
        verify_file(saved(tmp_path, signer.sign(unnamed)), signer.trust)


@pytest.mark.parametrize(
    ("contradiction", "why"),
    [
        ({"slots_overwritten": False}, "something of the tenant is left"),
        ({"local_files_deleted": False}, "something of the tenant is left"),
        ({"remaining": ("d" * 64, "c" * 64)}, "still lists an adapter"),
        ({"cause_id": "e" * 64, "evicted": (), "remaining": ("e" * 64,)}, "still lists an adapter"),
        ({"subject": eviction_subject("replica-2", "purge-1")}, "subject is not the replica and cause"),
        ({"subject": eviction_subject("replica-1", "purge-2")}, "subject is not the replica and cause"),
    ],
)
def test_a_receipt_that_says_itself_that_it_proves_nothing_is_refused(
    signer: AllKeys, tmp_path: Path, contradiction: dict[str, Any], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        verify_file(saved(tmp_path, signed_receipt(signer, **contradiction)), signer.trust)


def test_a_receipt_may_list_adapters_that_are_not_what_left(signer: AllKeys, tmp_path: Path) -> None:
    path = saved(tmp_path, signed_receipt(signer, remaining=("d" * 64,)))
    assert verify_file(path, signer.trust).kind == "eviction receipt"


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "{}", '{"payload": "!"}', '{"payload": "e30="}'])
def test_what_is_no_signed_statement_is_refused_in_one_line(signer: AllKeys, tmp_path: Path, content: str) -> None:
    path = tmp_path / "document.json"
    path.write_text(content)
    with pytest.raises(Refused, match="is not a signed statement"):
        verify_file(path, signer.trust)


def test_a_signed_document_of_a_kind_that_is_not_known_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    envelope = signer.sign(statement("urn:sanolith:predicate:unheard-of:v1", {"x": "0" * 64}, certificate()))
    with pytest.raises(Refused, match="not a document that this version knows"):
        verify_file(saved(tmp_path, envelope), signer.trust)


def test_a_signed_statement_that_lacks_its_fields_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    envelope = signer.sign(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [],
            "predicateType": "urn:sanolith:predicate:training:v1",
            "predicate": {"finished_at": "2026-03-01T12:00:00Z"},
        }
    )
    with pytest.raises(BadSignature, match="lacks what such a document must hold"):
        verify_file(saved(tmp_path, envelope), signer.trust)


REPLICA_SIGNED = EVICTED
REPLICA_EXPIRED = ReplicaAcknowledgement(
    replica_id="replica-2", outcome="expired", at=NOW, lease_ended_at=NOW, fenced_at=NOW
)
TOO_EARLY = NOW - timedelta(seconds=CLOCK_SKEW_SECONDS + 1)
LEFT = RetiredAdapter(
    adapter_digest="c" * 64,
    run_id="run-1",
    training_set_id="b" * 64,
    retired_at=NOW,
    replicas_found=("replica-1", "replica-2"),
    replicas=(REPLICA_SIGNED, REPLICA_EXPIRED),
)


def withdrawal(**changes: Any) -> WithdrawalReceipt:
    made = WithdrawalReceipt(
        withdrawal_id="w-1",
        tenant="t1",
        example_id="example-1",
        consent_id=None,
        withdrawn_at=NOW,
        outcome="retired",
        affected=(LEFT,),
        retired_at=NOW,
        replacement="d" * 64,
        weights_erased=True,
        deadline=NOW + timedelta(days=30),
        closed_at=NOW,
    )
    return made.evolve(**changes)


def left(**changes: Any) -> dict[str, Any]:
    return {"affected": (LEFT.evolve(**changes),)}


def signed_withdrawal(signer: AllKeys, held: WithdrawalReceipt, subject: str = "w-1") -> dict[str, Any]:
    return signer.sign(statement(WITHDRAWAL_PREDICATE, withdrawal_subject(subject), held))


def test_a_receipt_of_a_withdrawal_says_what_became_of_the_adapters(signer: AllKeys, tmp_path: Path) -> None:
    verdict = verify_file(saved(tmp_path, signed_withdrawal(signer, withdrawal())), signer.trust)
    assert verdict.kind == "receipt of a withdrawal"
    assert (verdict.facts["withdrawn"], verdict.facts["adapters"]) == ("example example-1", "c" * 64)
    assert verdict.facts["replicas"] == f"{'c' * 64}: replica-1 evicted, replica-2 expired"
    assert any("weights were erased" in line for line in verdict.proves)
    assert any("each replica that was found" in line for line in verdict.proves)
    assert any("copies that the tenant took away" in line for line in verdict.does_not_prove)


def test_a_receipt_about_another_withdrawal_than_its_subject_is_refused(signer: AllKeys, tmp_path: Path) -> None:
    with pytest.raises(BadSignature, match="subject is not the withdrawal"):
        verify_file(saved(tmp_path, signed_withdrawal(signer, withdrawal(), subject="w-2")), signer.trust)


@pytest.mark.parametrize(
    ("contradiction", "why"),
    [
        ({"affected": ()}, "not which, when"),
        ({"weights_erased": False}, "not which, when"),
        ({"retired_at": None}, "not which, when"),
        ({"outcome": "not-affected", "weights_erased": False, "retired_at": None}, "lists adapters"),
        ({"outcome": "consent-renewed", "weights_erased": False}, "another outcome"),
        ({"outcome": "flagged", "retired_at": None}, "another outcome"),
        ({"consent_id": "consent-1"}, "one example or one consent"),
        ({"example_id": None}, "one example or one consent"),
        (left(replicas=(REPLICA_SIGNED,)), "how each replica"),
        (left(replicas_found=("replica-1",)), "how each replica"),
        (left(replicas_found=None, replicas=()), "how each replica"),
        (left(replicas=(REPLICA_SIGNED, REPLICA_SIGNED)), "how each replica"),
        (
            left(replicas=(REPLICA_SIGNED.evolve(receipt_sha256=None), REPLICA_EXPIRED)),
            "does not identify it",
        ),
        (
            left(replicas=(REPLICA_SIGNED.evolve(incarnation=None), REPLICA_EXPIRED)),
            "which process of a replica",
        ),
        (left(retired_at=None), "or not when that was"),
        (left(retired_at=NOW + (NOW - TOO_EARLY)), "before that was retired"),
        (
            left(replicas=(REPLICA_SIGNED.evolve(at=TOO_EARLY), REPLICA_EXPIRED)),
            "before that was retired",
        ),
        (
            left(
                replicas=(
                    REPLICA_SIGNED,
                    REPLICA_EXPIRED.evolve(lease_ended_at=NOW + timedelta(seconds=1)),
                )
            ),
            "lease had not ended",
        ),
    ],
)
def test_a_receipt_of_a_withdrawal_that_contradicts_itself_is_refused(
    contradiction: dict[str, Any], why: str, signer: AllKeys, tmp_path: Path
) -> None:
    with pytest.raises(BadSignature, match=why):
        verify_file(saved(tmp_path, signed_withdrawal(signer, withdrawal(**contradiction))), signer.trust)
