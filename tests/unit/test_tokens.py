"""Bearer tokens: only ours, only now, only for inference, and every refusal sounds the same."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from schemas.evidence.purposes import Purpose
from tenancy.errors import Refused
from tenancy.evidence.keys import LocalKey, PublicKey
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust
from tenancy.tenant_id import TenantId
from tenancy.tokens import AUDIENCE, ISSUER, BadToken, TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys, entry

ALGORITHM = "Ed25519"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT = TenantId("t1")
OURS = AllKeys.numbered(1)
THEIRS = AllKeys.numbered(2)
ISSUING = TokenIssuer(OURS.token, lambda: NOW)
WORDS = "refused: the bearer token is missing, malformed, expired or not of this installation"


def verifier(at: datetime = NOW) -> TokenVerifier:
    return TokenVerifier(OURS.trust, lambda: at)


KEY = OURS.private[Purpose.TOKEN]
RAW = serialization.Encoding.Raw
HEADER = {"alg": ALGORITHM, "kid": OURS.token.key_id, "typ": "JWT"}


def private_jwk(signer: AllKeys) -> OKPKey:
    return OKPKey.import_key(signer.private[Purpose.TOKEN].pem())


def public_pem() -> bytes:
    return KEY.public_key.pem()


def claims(**changed: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "t1", "iat": now, "exp": now + 60, "jti": "x", **changed}
    return {name: value for name, value in made.items() if value is not ...}


def signed(token_claims: dict[str, Any], signer: AllKeys = OURS, header: dict[str, Any] | None = None) -> str:
    return jwt.encode({**HEADER, **(header or {})}, token_claims, private_jwk(signer), algorithms=[ALGORITHM])


def signed_json(literals: dict[str, str]) -> str:
    """A token of ours whose claims are spelled by hand: what Python's JSON takes and JSON does not, too."""
    body = json.dumps(claims(**dict.fromkeys(literals, ...)))[:-1]
    spelled = body + "".join(f', "{name}": {literal}' for name, literal in literals.items()) + "}"
    signing_input = ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (json.dumps(HEADER), spelled)
    )
    signature = KEY.sign(signing_input.encode())
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def unsigned(header: Any, body: Any, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(body).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_token_names_its_tenant_until_it_expires() -> None:
    token = ISSUING.issue(TENANT, timedelta(hours=1))
    assert verifier().tenant(token) == TENANT
    assert verifier(NOW + timedelta(minutes=59, seconds=59)).tenant(token) == TENANT
    with pytest.raises(BadToken):
        verifier(NOW + timedelta(hours=1)).tenant(token)


def test_a_token_carries_nothing_but_opaque_ids_and_times() -> None:
    body = ISSUING.issue(TENANT).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(body + "==")).keys() == {"iss", "aud", "sub", "iat", "exp", "jti"}


def test_two_tokens_of_one_moment_differ() -> None:
    assert ISSUING.issue(TENANT) != ISSUING.issue(TENANT)


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), timedelta(days=366)])
def test_a_lifetime_that_is_none_or_over_a_year_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(Refused, match="up to 365 days"):
        ISSUING.issue(TENANT, lifetime)


def hs256(secret: bytes) -> str:
    """By hand: the library refuses to make such a token."""
    body = unsigned({**HEADER, "alg": "HS256"}, claims()).removesuffix(".")
    tag = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


ES256 = jwt.encode({**HEADER, "alg": "ES256"}, claims(), ECKey.generate_key("P-256"), algorithms=["ES256"])
GOOD = signed(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")

REFUSED = {
    "nothing": "",
    "one word": "token",
    "three words": "a.b.c",
    "five parts": "a.b.c.d.e",
    "no signature": f"{HEAD}.{BODY}.",
    "no algorithm": unsigned({"typ": "JWT"}, claims()),
    "alg none": unsigned({**HEADER, "alg": "none"}, claims()),
    "alg None": unsigned({**HEADER, "alg": "None"}, claims()),
    "alg null": unsigned({**HEADER, "alg": None}, claims()),
    "alg list": unsigned({**HEADER, "alg": [ALGORITHM]}, claims()),
    "alg none with our signature": f"{unsigned({**HEADER, 'alg': 'none'}, claims()).rsplit('.', 1)[0]}.{SIGNATURE}",
    "HS256 with the public key in PEM": hs256(public_pem()),
    "HS256 with the public key's bytes": hs256(KEY.public_key.inner.public_bytes(RAW, serialization.PublicFormat.Raw)),
    "ES256": ES256,
    "another installation's key": signed(claims(), THEIRS),
    "a key in the header": signed(claims(), THEIRS, {"jwk": private_jwk(THEIRS).as_dict(private=False)}),
    "another's claims under our signature": f"{HEAD}.{signed(claims(sub='t2')).split('.')[1]}.{SIGNATURE}",
    "expired": signed(claims(exp=int(NOW.timestamp()))),
    "issued in the future": signed(claims(iat=int(NOW.timestamp()) + 3600, exp=int(NOW.timestamp()) + 7200)),
    "another audience": signed(claims(aud="other")),
    "a list of audiences": signed(claims(aud=[AUDIENCE])),
    "another issuer": signed(claims(iss="other")),
    "no expiry": signed(claims(exp=...)),
    "no issue time": signed(claims(iat=...)),
    "no audience": signed(claims(aud=...)),
    "no subject": signed(claims(sub=...)),
    "a subject that is no tenant": signed(claims(sub="../t2")),
    "a subject that is a number": signed(claims(sub=None)),
    "an expiry that is no number": signed(claims(exp="soon")),
    **{
        f"{name} {what}": signed_json({name: literal})
        for name in ("exp", "iat", "nbf")
        for what, literal in {
            "beyond every float": "1e999",
            "before every float": "-1e999",
            "not a number": "NaN",
            "infinite": "Infinity",
            "of a hundred digits": "9" * 100,
            "of ten thousand digits": "9" * 10_000,
            "after the year 9999": "253402300800",
            "before 1970": "-1",
            "true": "true",
            "null": "null",
            "a list": "[1]",
            "digits in a string": f'"{int(NOW.timestamp())}"',
        }.items()
    },
    "an expiry that is reached": signed(claims(exp=NOW.timestamp() - 0.5)),
    "not valid yet": signed(claims(nbf=int(NOW.timestamp()) + 61)),
    "not valid before it expires": signed(claims(nbf=int(NOW.timestamp()) + 120, exp=int(NOW.timestamp()) + 60)),
    "claims that are a list": unsigned(HEADER, ["t1"], b"x" * 64),
    "a critical extension": unsigned({**HEADER, "crit": ["b64"], "b64": False}, claims(), b"x" * 64),
    "a header that is deep": base64.urlsafe_b64encode(b"[" * 40_000).decode() + ".e30.AA",
    "not ASCII": "é.é.é",
    "a lone surrogate": "\ud800.a.b",
    "a NUL": f"{GOOD}\x00",
    "white space": f" {GOOD}",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED.keys())
def test_every_other_token_is_refused_in_the_same_words(token: str) -> None:
    with pytest.raises(BadToken) as refused:
        verifier().tenant(token)
    assert (str(refused.value), refused.value.code) == (WORDS, "bad-token")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__, "a logged traceback would tell the reasons apart"


def test_the_token_that_the_refused_ones_were_made_from_is_good() -> None:
    assert verifier().tenant(GOOD) == TENANT


@pytest.mark.parametrize(
    "literals",
    [
        {"nbf": str(int(NOW.timestamp()))},
        {"nbf": str(int(NOW.timestamp()) + 60)},
        {"nbf": "0"},
        {"iat": str(int(NOW.timestamp()) + 60), "exp": str(int(NOW.timestamp()) + 120)},
        {"exp": f"{NOW.timestamp() + 0.5}"},
        {"exp": "253402214400"},
        {"iat": f"{int(NOW.timestamp())}.25"},
    ],
)
def test_times_that_are_sane_are_taken_from_a_clock_a_minute_ahead_too(literals: dict[str, str]) -> None:
    assert verifier().tenant(signed_json(literals)) == TENANT


def test_the_key_is_made_once_and_not_for_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = [], serialization.load_pem_public_key

    def counted(*given: Any) -> Any:
        made.append(given)
        return real(*given)

    monkeypatch.setattr(serialization, "load_pem_public_key", counted)
    checking = TokenVerifier(Trust.of(*OURS.trust.file.keys), lambda: NOW)
    assert [checking.tenant(GOOD), checking.tenant(GOOD)] == [TENANT, TENANT]
    with pytest.raises(BadToken):
        checking.tenant(ES256)
    assert len(made) == 1


def test_a_token_is_refused_by_a_key_of_every_other_purpose() -> None:
    for purpose in Purpose:
        token = TokenIssuer(Signer.of(purpose, OURS.private[purpose]), lambda: NOW).issue(TENANT)
        if purpose is Purpose.TOKEN:
            assert verifier().tenant(token) == TENANT
        else:
            with pytest.raises(BadToken):
                verifier().tenant(token)


def test_a_signature_is_checked_once_and_all_else_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at, verify = NOW, Mock(side_effect=PublicKey.verify)
    monkeypatch.setattr(PublicKey, "verify", lambda *given: verify(*given))
    one = TokenVerifier(OURS.trust, lambda: at)
    token = signed(claims())
    assert [one.tenant(token), one.tenant(token)] == [TENANT, TENANT]
    assert verify.call_count == 1
    for changed in (token[:-4] + "AAAA", signed(claims(sub="t2"), THEIRS), f"{token}."):
        with pytest.raises(BadToken):
            one.tenant(changed)
    at = NOW + timedelta(seconds=60)
    with pytest.raises(BadToken):
        one.tenant(token)


def test_a_remembered_token_is_refused_once_its_key_is_revoked() -> None:
    token = signed(claims())
    one = TokenVerifier(with_key(), lambda: NOW)
    assert one.tenant(token) == TENANT
    with pytest.raises(BadToken):
        replace(one, trust=with_key(revoked_at=NOW)).tenant(token)


def with_key(**times: Any) -> Trust:
    return Trust.of(entry(KEY.public_key, Purpose.TOKEN, **times), clock=lambda: NOW)


def test_tokens_outlive_the_replacement_of_their_key_and_not_its_revocation() -> None:
    token = ISSUING.issue(TENANT, timedelta(days=30))
    later = NOW + timedelta(days=29)
    replaced = with_key(valid_until=NOW + timedelta(hours=1))
    assert TokenVerifier(replaced, lambda: later).tenant(token) == TENANT
    for ended in (with_key(revoked_at=later), with_key(valid_until=NOW - timedelta(hours=1))):
        with pytest.raises(BadToken):
            TokenVerifier(ended, lambda: NOW).tenant(token)


def test_a_replaced_key_makes_no_token_that_is_dated_back_and_lasts_for_ever() -> None:
    token = signed(claims(exp=253402214400))
    replaced = with_key(valid_until=NOW)
    assert TokenVerifier(replaced, lambda: NOW).tenant(token) == TENANT
    with pytest.raises(BadToken):
        TokenVerifier(replaced, lambda: NOW + timedelta(days=366)).tenant(token)


def test_a_token_may_be_signed_by_a_key_of_the_other_algorithm() -> None:
    key = LocalKey.generate_p256()
    trust = Trust.of(entry(key.public_key, Purpose.TOKEN))
    token = TokenIssuer(Signer.of(Purpose.TOKEN, key), lambda: NOW).issue(TENANT)
    assert TokenVerifier(trust, lambda: NOW).tenant(token) == TENANT


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_no_changed_character_makes_it_another_tenants_token(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    try:
        tenant = verifier().tenant(changed)
    except BadToken:
        return
    assert tenant == TENANT  # another spelling of the same signature bits; what it says is the same


@given(st.text())
def test_no_text_makes_the_verifier_fail_in_another_way(text: str) -> None:
    with pytest.raises(BadToken):
        verifier().tenant(text)
