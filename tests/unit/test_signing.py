"""Signed statements: any changed byte is refused, and a signature is good for one kind of statement only."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from schemas.base.canonical import canonical_json
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import EVICTION_PREDICATE, PAYLOAD_TYPE, PURGE_PREDICATE, STATEMENT_TYPE
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.given_keys import GivenKeys, read_public_key
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import signed_envelope
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.examples import examples
from tests.unit.event_strategies import JSON_VALUES

SIGNER = AllKeys.numbered(1)
OTHER = AllKeys.numbered(2)
VERIFIER = SIGNER.trust


def statement(said: Any = "x", **changed: Any) -> dict[str, Any]:
    predicate = {"said": said, "completed_at": "2026-03-01T12:00:00+00:00"}
    made = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": PURGE_PREDICATE, "predicate": predicate, **changed}
    return {name: value for name, value in made.items() if value is not ...}


def envelope_of(payload: bytes, payload_type: str = PAYLOAD_TYPE, signer: AllKeys = SIGNER) -> dict[str, Any]:
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(signer.private[Purpose.CERTIFICATE].private_key))
    made: dict[str, Any] = envelope.to_dict()
    return made


def test_what_was_signed_is_what_verifies() -> None:
    signed = SIGNER.sign(statement({"objects": 3}))
    assert VERIFIER.verify(signed, PURGE_PREDICATE) == statement({"objects": 3})
    assert VERIFIER.verify(json.loads(json.dumps(signed, indent=2)), PURGE_PREDICATE) == statement({"objects": 3})


def test_signing_again_gives_the_same_bytes_and_verifying_changes_nothing() -> None:
    signed = SIGNER.sign(statement({"b": 1, "a": 2}))
    assert signed == SIGNER.sign(statement({"a": 2, "b": 1}))
    before = copy.deepcopy(signed)
    VERIFIER.verify(signed, PURGE_PREDICATE)
    assert signed == before


@pytest.mark.parametrize("filler", ["", "a", "ab"])
def test_any_changed_byte_is_refused(filler: str) -> None:
    """Also in the bits of base64's last character that decoders ignore: hence the three lengths."""
    raw = json.dumps(SIGNER.sign(statement(filler)), separators=(",", ":")).encode()
    alphabet = b"ABCDwxyz0189+/=_- "
    for place in range(len(raw)):
        for byte in {*alphabet, raw[place] ^ 1, raw[place] ^ 2, raw[place] ^ 0x20} - {raw[place]}:
            try:
                changed = json.loads(raw[:place] + bytes([byte]) + raw[place + 1 :])
            except ValueError:
                continue  # not even JSON any more
            with pytest.raises(BadSignature):
                VERIFIER.verify(changed, PURGE_PREDICATE)


def test_base64_that_is_spelled_in_another_way_is_refused() -> None:
    spellable = (SIGNER.sign(statement(number)) for number in range(100))
    signed = next(one for one in spellable if set("+/") & set(one["signatures"][0]["sig"]))
    spaced = {**signed, "payload": signed["payload"][:8] + "\n" + signed["payload"][8:]}
    urlsafe = copy.deepcopy(signed)
    urlsafe["signatures"][0]["sig"] = urlsafe["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    for changed in (spaced, urlsafe):
        assert changed != signed
        with pytest.raises(BadSignature):
            VERIFIER.verify(changed, PURGE_PREDICATE)


def test_nothing_unsigned_may_travel_in_the_envelope() -> None:
    signed = SIGNER.sign(statement())
    with pytest.raises(BadSignature, match="more than what is signed"):
        VERIFIER.verify({**signed, "note": "unsigned"}, PURGE_PREDICATE)
    signed["signatures"][0]["note"] = 2**60  # what holds it has no digest
    with pytest.raises(BadSignature, match="more than what is signed"):
        VERIFIER.verify(signed, PURGE_PREDICATE)


def test_a_signature_for_one_kind_is_not_good_for_another() -> None:
    with pytest.raises(BadSignature):
        VERIFIER.verify(SIGNER.sign(statement()), EVICTION_PREDICATE)
    key = SIGNER.certificate.key.public_key
    with pytest.raises(BadSignature, match="another kind"):
        GivenKeys((key,)).verify(SIGNER.sign(statement()), EVICTION_PREDICATE)


def test_another_installations_signature_is_refused() -> None:
    with pytest.raises(BadSignature):
        VERIFIER.verify(OTHER.sign(statement()), PURGE_PREDICATE)
    forged = OTHER.sign(statement())
    forged["signatures"][0]["keyid"] = SIGNER.sign(statement())["signatures"][0]["keyid"]
    with pytest.raises(BadSignature):
        VERIFIER.verify(forged, PURGE_PREDICATE)


def test_an_envelope_without_a_signature_is_refused() -> None:
    signed = SIGNER.sign(statement())
    with pytest.raises(BadSignature):
        VERIFIER.verify({**signed, "signatures": []}, PURGE_PREDICATE)


def test_a_payload_of_another_type_is_refused_though_it_is_signed() -> None:
    payload = canonical_json(statement())
    for payload_type in ("application/json", "", "application/vnd.in-toto+xml"):
        with pytest.raises(BadSignature):
            VERIFIER.verify(envelope_of(payload, payload_type), PURGE_PREDICATE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        canonical_json(statement(_type="https://in-toto.io/Statement/v0.1")),
        canonical_json(statement(_type=...)),
        canonical_json(statement(predicateType=...)),
        canonical_json(statement(predicateType=None)),
    ],
)
def test_a_signed_payload_that_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(BadSignature):
        VERIFIER.verify(envelope_of(payload), PURGE_PREDICATE)


@examples(100)
@given(
    st.one_of(
        JSON_VALUES,
        st.fixed_dictionaries(
            {"payload": JSON_VALUES, "payloadType": st.just(PAYLOAD_TYPE) | JSON_VALUES},
            optional={
                "signatures": st.lists(
                    st.fixed_dictionaries({"keyid": JSON_VALUES, "sig": JSON_VALUES}) | JSON_VALUES, max_size=3
                )
            },
        ),
    )
)
def test_no_json_makes_the_verifier_fail_in_another_way(envelope: Any) -> None:
    """Receipts come off the bus: what they hold is anybody's."""
    with pytest.raises(BadSignature):
        VERIFIER.verify(envelope, PURGE_PREDICATE)


def test_what_does_not_verify_is_not_repeated_in_the_refusal() -> None:
    signed = SIGNER.sign(statement("canary-8841"))
    signed["payload"] = base64.b64encode(b'{"x": "canary-8841"}').decode()
    with pytest.raises(BadSignature) as refused:
        VERIFIER.verify(signed, PURGE_PREDICATE)
    assert "canary" not in str(refused.value)


# --- key files


@pytest.mark.parametrize("key", [LocalKey.generate(), LocalKey.generate_p256()], ids=["Ed25519", "P-256"])
def test_keys_are_read_from_pem(key: LocalKey, tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    private.write_bytes(key.pem())
    public.write_bytes(key.public_key.pem())
    read = LocalKey.read(private, "--key")
    assert read.public_key == read_public_key(public, "--key") == key.public_key
    signed = signed_envelope(statement(), read)
    assert GivenKeys((key.public_key,)).verify(signed, PURGE_PREDICATE) == statement()


def test_what_is_no_key_of_ours_is_refused_with_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for read in (LocalKey.read, read_public_key):
        with pytest.raises(Refused, match="SANO_AUDIT_KEY"):
            read(path, "SANO_AUDIT_KEY")
    other = generate_private_key(SECP384R1())
    path.write_bytes(
        other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(Refused, match="no Ed25519 or ECDSA P-256 key"):
        LocalKey.read(path, "--key")
    path.write_bytes(
        other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(Refused, match="no PEM public key of Ed25519 or ECDSA P-256"):
        read_public_key(path, "--key")
