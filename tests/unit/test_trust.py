"""The trust file: one key for one purpose, at its time, and nothing that the root key did not sign."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import EVICTION_PREDICATE, PURGE_PREDICATE, TRAINING_PREDICATE, WITHDRAWAL_PREDICATE
from schemas.evidence.trust import DOCUMENTS, TRUST_PREDICATE, SpeaksFor, TrustedKey, TrustFile
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.jws import Jws, compact_jws
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer, signed_envelope
from tenancy.evidence.trust import Trust, opened_trust, signed_trust, trusted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT, OTHER = LocalKey.generate(), LocalKey.generate()
KEYS = {purpose: LocalKey.generate() for purpose in Purpose}
OURS = SpeaksFor(publisher="purge")


def entry(purpose: Purpose, **other: Any) -> TrustedKey:
    speaks_for = OURS if purpose is Purpose.EVENT else None
    return trusted(KEYS[purpose].public_key, purpose, NOW - 10 * DAY, speaks_for=speaks_for, **other)


def trust(*keys: TrustedKey) -> Trust:
    return Trust.of(*(keys or map(entry, Purpose)), clock=lambda: NOW)


def document(predicate_type: str, at: datetime = NOW) -> dict[str, Any]:
    """As small as one can be that says when it was signed."""
    kind = DOCUMENTS[predicate_type]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [],
        "predicateType": predicate_type,
        "predicate": {kind.time: at.isoformat()},
    }


@pytest.mark.parametrize("predicate_type", DOCUMENTS)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_document_is_believed_from_the_key_of_its_purpose_and_from_no_other(
    predicate_type: str, purpose: Purpose
) -> None:
    envelope = signed_envelope(document(predicate_type), KEYS[purpose])
    if purpose is DOCUMENTS[predicate_type].purpose:
        said, key_id = trust().verified(envelope, predicate_type)
        assert (said, key_id) == (document(predicate_type), KEYS[purpose].public_key.key_id)
    else:
        with pytest.raises(BadSignature, match=f"by a key for {purpose}s"):
            trust().verify(envelope, predicate_type)


@pytest.mark.parametrize("asked", Purpose)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_is_found_for_its_purpose_alone(asked: Purpose, purpose: Purpose) -> None:
    key_id = KEYS[purpose].public_key.key_id
    if asked is purpose:
        assert trust().key(key_id, asked).purpose is purpose
    else:
        with pytest.raises(BadSignature, match="signs no"):
            trust().key(key_id, asked)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_signer_signs_no_document_of_another_purpose(purpose: Purpose) -> None:
    signer = Signer.of(purpose, KEYS[purpose])
    for predicate_type, kind in DOCUMENTS.items():
        if kind.purpose is purpose:
            assert signer.sign(document(predicate_type)) == asyncio.run(signer.signed(document(predicate_type)))
        else:
            with pytest.raises(Refused, match="signs no"):
                signer.sign(document(predicate_type))
    with pytest.raises(Refused, match="signs no"):
        signer.sign({"predicateType": TRUST_PREDICATE})


def test_a_key_goes_on_verifying_what_it_signed_before_it_was_replaced() -> None:
    replaced = trust(entry(Purpose.CERTIFICATE, valid_until=NOW - 2 * DAY))
    key = KEYS[Purpose.CERTIFICATE]
    assert replaced.verify(signed_envelope(document(PURGE_PREDICATE, NOW - 3 * DAY), key), PURGE_PREDICATE)
    with pytest.raises(BadSignature, match="valid until"):
        replaced.verify(signed_envelope(document(PURGE_PREDICATE, NOW - DAY), key), PURGE_PREDICATE)


def test_a_revoked_key_counts_for_what_it_signed_before_its_revocation_only() -> None:
    revoked = trust(entry(Purpose.MANIFEST, revoked_at=NOW - 2 * DAY))
    key = KEYS[Purpose.MANIFEST]
    assert revoked.verify(signed_envelope(document(TRAINING_PREDICATE, NOW - 3 * DAY), key), TRAINING_PREDICATE)
    for at in (NOW - 2 * DAY, NOW):
        with pytest.raises(BadSignature, match="revoked"):
            revoked.verify(signed_envelope(document(TRAINING_PREDICATE, at), key), TRAINING_PREDICATE)


def test_a_revoked_key_counts_for_nothing_that_is_presented_now() -> None:
    revoked = trust(entry(Purpose.TOKEN, revoked_at=NOW + DAY))
    with pytest.raises(BadSignature, match="revoked"):
        revoked.key(KEYS[Purpose.TOKEN].public_key.key_id, Purpose.TOKEN)


def test_a_key_does_not_count_before_its_time_and_may_sign_what_its_predecessor_began() -> None:
    key = KEYS[Purpose.RECEIPT]
    early = trust(trusted(key.public_key, Purpose.RECEIPT, NOW + DAY))
    envelope = signed_envelope(document(EVICTION_PREDICATE), key)
    with pytest.raises(BadSignature, match="valid from"):
        early.verify(envelope, EVICTION_PREDICATE)
    late = trust(trusted(key.public_key, Purpose.RECEIPT, NOW))
    assert late.verify(signed_envelope(document(EVICTION_PREDICATE, NOW - DAY), key), EVICTION_PREDICATE)


def test_a_document_that_does_not_say_when_it_was_signed_is_refused() -> None:
    said = {**document(WITHDRAWAL_PREDICATE), "predicate": {}}
    with pytest.raises(BadSignature, match="when it was signed"):
        trust().verify(signed_envelope(said, KEYS[Purpose.CERTIFICATE]), WITHDRAWAL_PREDICATE)


def test_a_signature_of_no_known_key_is_refused_also_under_a_known_name() -> None:
    envelope = signed_envelope(document(PURGE_PREDICATE), OTHER)
    with pytest.raises(BadSignature, match="no key of the trust file"):
        trust().verify(envelope, PURGE_PREDICATE)
    envelope["signatures"][0]["keyid"] = KEYS[Purpose.CERTIFICATE].public_key.key_id
    with pytest.raises(BadSignature, match="does not verify"):
        trust().verify(envelope, PURGE_PREDICATE)


def test_a_key_that_came_after_the_file_was_read_is_asked_for() -> None:
    before, after = (
        TrustFile(version=n, issued_at=NOW, keys=keys) for n, keys in ((1, ()), (2, (entry(Purpose.AUDIT),)))
    )
    asked = []

    def source(lacking: str | None) -> TrustFile:
        asked.append(lacking)
        return after if lacking else before

    key_id = KEYS[Purpose.AUDIT].public_key.key_id
    assert Trust(source, lambda: NOW).key(key_id, Purpose.AUDIT)
    assert asked == [None, key_id]


# --- the file


FILE = TrustFile(version=3, issued_at=NOW, keys=tuple(map(entry, Purpose)))


def test_the_file_is_read_back_as_the_root_signed_it() -> None:
    signed = json.loads(json.dumps(signed_trust(FILE, ROOT)))
    assert opened_trust(signed, ROOT.public_key) == FILE
    with pytest.raises(BadSignature):
        opened_trust(signed, OTHER.public_key)


def test_a_file_that_is_signed_by_a_key_that_it_lists_is_refused() -> None:
    key = KEYS[Purpose.CERTIFICATE]
    with pytest.raises(BadSignature, match="its own root key"):
        opened_trust(signed_trust(FILE, key), key.public_key)


def test_a_key_under_the_name_of_another_is_refused() -> None:
    wrong = entry(Purpose.TOKEN).model_copy(update={"key_id": "0" * 64})
    file = TrustFile(version=1, issued_at=NOW, keys=(wrong,))
    with pytest.raises(BadSignature, match="not what the file says"):
        opened_trust(signed_trust(file, ROOT), ROOT.public_key)


def test_one_key_cannot_be_listed_for_two_purposes() -> None:
    twice = trusted(KEYS[Purpose.TOKEN].public_key, Purpose.CERTIFICATE, NOW)
    with pytest.raises(ValidationError, match="twice"):
        TrustFile(version=1, issued_at=NOW, keys=(entry(Purpose.TOKEN), twice))


def test_only_an_event_key_speaks_for_somebody_and_it_always_does() -> None:
    for purpose in Purpose:
        speaks_for = None if purpose is Purpose.EVENT else OURS
        with pytest.raises(Refused, match="cannot be said"):
            trusted(KEYS[purpose].public_key, purpose, NOW, speaks_for=speaks_for)


# --- JWS


@pytest.mark.parametrize("key", [LocalKey.generate(), LocalKey.generate_p256()], ids=["Ed25519", "ES256"])
def test_a_jws_opens_with_its_key_and_kind_and_with_no_other(key: LocalKey) -> None:
    jws = compact_jws(key, "sano+event", b"said")
    Jws.parse(jws).verify("sano+event", key.public_key)
    assert Jws.parse(jws).payload == b"said"
    cases = (
        (jws, "JWT", key),
        (jws, "sano+event", LocalKey.generate()),
        (jws[:-1] + ("A" if jws[-1] != "A" else "B"), "sano+event", key),
        (jws.replace(".", "", 1), "sano+event", key),
        ("no jws", "sano+event", key),
    )
    for text, typ, wrong in cases:
        with pytest.raises(BadSignature):
            Jws.parse(text).verify(typ, wrong.public_key)
