"""Signed statements: any changed byte is refused, and a signature is good for one kind of statement only."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from schemas.base.canonical import canonical_json
from schemas.evidence.statements import EVICTION_PREDICATE, PAYLOAD_TYPE, PURGE_PREDICATE, STATEMENT_TYPE
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.signing import Signer, Verifier
from tests.fixtures.examples import examples
from tests.unit.event_strategies import JSON_VALUES

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
VERIFIER = SIGNER.verifier


def statement(predicate: Any = "x", **changed: Any) -> dict[str, Any]:
    made = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": PURGE_PREDICATE, "predicate": predicate, **changed}
    return {name: value for name, value in made.items() if value is not ...}


def envelope_of(payload: bytes, payload_type: str = PAYLOAD_TYPE, signer: Signer = SIGNER) -> dict[str, Any]:
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(signer.private_key))
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
    signed = SIGNER.sign(statement())
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
    with pytest.raises(BadSignature, match="another kind"):
        VERIFIER.verify(SIGNER.sign(statement()), EVICTION_PREDICATE)


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


@examples(200)
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


def test_keys_are_read_from_pem(tmp_path: Path) -> None:
    private, public = tmp_path / "signing.pem", tmp_path / "signing.pub.pem"
    private.write_bytes(
        SIGNER.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        VERIFIER.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert Verifier.read(public).verify(Signer.read(private).sign(statement()), PURGE_PREDICATE) == statement()


def test_what_is_no_ed25519_key_is_refused_with_what_to_set(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    path = tmp_path / "key.pem"
    with pytest.raises(Refused, match="SANO_SIGNING_KEY_FILE"):
        Signer.read(path)
    with pytest.raises(Refused, match="SANO_VERIFY_KEY_FILE"):
        Verifier.read(path)
    path.write_bytes(
        other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(Refused, match="no Ed25519 key"):
        Signer.read(path)
    path.write_bytes(
        other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(Refused, match="no Ed25519 public key"):
        Verifier.read(path)
