"""A second signature by a verifier: over the same bytes, by another key, and only under a certificate that holds."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.base.canonical import canonical_json
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import PURGE_PREDICATE
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.countersigning import countersigned
from tenancy.evidence.given_keys import GivenKeys
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.verification import verify_file
from tests.fixtures.all_keys import AllKeys
from tests.unit.operator_parts import certificate, signed_certificate, signed_receipt

SIGNER, STRANGER = (AllKeys.numbered(n) for n in (1, 3))
VERIFIER = LocalKey.generate()


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "c.json"
    path.write_bytes(canonical_json(signed_certificate(SIGNER, certificate())))
    return path


@pytest.fixture
def both(signed: Path) -> Path:
    path = signed.with_name("both.json")
    path.write_bytes(countersigned(signed, SIGNER.trust, VERIFIER))
    return path


def changed(path: Path, envelope: dict[str, Any]) -> Path:
    written = path.with_name("changed.json")
    written.write_bytes(canonical_json(envelope))
    return written


def test_both_signatures_are_over_the_same_bytes_and_each_holds_by_itself(signed: Path, both: Path) -> None:
    first, second = json.loads(signed.read_bytes()), json.loads(both.read_bytes())
    assert second["payload"] == first["payload"]
    assert second["signatures"][:1] == first["signatures"]
    assert len(second["signatures"]) == 2
    for verifier in (SIGNER.trust, GivenKeys((VERIFIER.public_key,))):
        assert verifier.verify(second, PURGE_PREDICATE)
    alone = {**second, "signatures": second["signatures"][1:]}
    assert GivenKeys((VERIFIER.public_key,)).verify(alone, PURGE_PREDICATE)


def test_the_signed_file_is_left_as_it_is_and_countersigning_again_is_no_change(signed: Path, both: Path) -> None:
    assert signed.read_bytes() == canonical_json(signed_certificate(SIGNER, certificate()))
    assert countersigned(both, SIGNER.trust, VERIFIER) == both.read_bytes()


def test_verifying_says_in_words_which_signatures_hold(signed: Path, both: Path) -> None:
    assert verify_file(signed, SIGNER.trust).facts["signatures"] == "the signer's is good"
    good = verify_file(both, SIGNER.trust, VERIFIER.public_key)
    assert good.facts["signatures"] == "the signer's is good; the verifier's, by another key, is good too"
    assert any("the verifier's key signed the same statement" in line for line in good.proves)
    unlooked = verify_file(both, SIGNER.trust)
    assert unlooked.facts["signatures"].startswith("the signer's is good; 1 more in it not checked")
    assert not any("verifier" in line for line in unlooked.proves)


def test_a_verifiers_signature_that_is_missing_or_anothers_is_refused(signed: Path, both: Path) -> None:
    for path, key in ((signed, VERIFIER), (both, LocalKey.generate())):
        with pytest.raises(BadSignature, match="verifier's signature is not in it"):
            verify_file(path, SIGNER.trust, key.public_key)


def test_no_single_byte_of_a_countersigned_certificate_can_be_changed(both: Path) -> None:
    original, accepted = both.read_bytes(), []
    path = both.with_name("changed.json")
    for position in range(len(original)):
        body = bytearray(original)
        body[position] ^= 0x01
        path.write_bytes(body)
        try:
            verify_file(path, SIGNER.trust, VERIFIER.public_key)
            accepted.append(bytes(body[max(0, position - 10) : position + 10]))
        except Refused:
            pass
    assert accepted == []


def test_a_countersignature_that_is_damaged_is_refused_where_it_is_asked_for(both: Path) -> None:
    envelope = json.loads(both.read_bytes())
    envelope["signatures"][1]["sig"] = envelope["signatures"][0]["sig"]
    with pytest.raises(BadSignature, match="verifier's signature"):
        verify_file(changed(both, envelope), SIGNER.trust, VERIFIER.public_key)


def test_a_countersignature_does_not_stand_in_for_the_signers(both: Path) -> None:
    envelope = json.loads(both.read_bytes())
    envelope["signatures"] = envelope["signatures"][1:]
    with pytest.raises(BadSignature):
        verify_file(changed(both, envelope), SIGNER.trust, VERIFIER.public_key)


def test_the_signers_own_key_countersigns_nothing_and_verifies_for_nobody_else(signed: Path) -> None:
    with pytest.raises(Refused, match="signer's own"):
        countersigned(signed, SIGNER.trust, SIGNER.private[Purpose.TOKEN])
    with pytest.raises(Refused, match="signer's own"):
        verify_file(signed, SIGNER.trust, SIGNER.private[Purpose.CERTIFICATE].public_key)


def test_a_certificate_that_does_not_hold_is_not_countersigned(signed: Path) -> None:
    envelope = json.loads(signed.read_bytes())
    tampered = copy.deepcopy(envelope)
    tampered["payload"] = tampered["payload"].replace("A", "B", 1)
    contradictory = signed_certificate(SIGNER, certificate(residual=1))
    for broken in (tampered, contradictory, signed_certificate(STRANGER, certificate())):
        with pytest.raises(BadSignature):
            countersigned(changed(signed, broken), SIGNER.trust, VERIFIER)


def test_only_a_certificate_of_purge_is_countersigned(signed: Path) -> None:
    with pytest.raises(Refused, match="is no certificate of purge"):
        countersigned(changed(signed, signed_receipt(SIGNER)), SIGNER.trust, VERIFIER)
