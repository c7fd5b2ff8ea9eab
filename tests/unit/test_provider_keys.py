"""The keys of an identity provider: bounded in bytes, keys and time, and only from where they may be asked for."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey

from inference.tenants import provider_keys
from inference.tenants.provider_keys import KeysUnavailable
from tests.fixtures.token_provider import EC, ED, ISSUER, RSA, TokenProvider, public


async def test_keys_for_signatures_are_taken_and_others_left_out() -> None:
    weak = RSAKey.generate_key(1024)
    provider = TokenProvider()
    provider.keys += [
        public(RSA, "encrypts", use="enc"),
        public(RSA, "other-algorithm", alg="RS512"),
        public(weak, "weak"),
        {**public(RSA, "dear"), "e": public(RSA, "dear")["n"][:300] + "AQ"},  # each check of a signature takes long
        public(ECKey.generate_key("P-384"), "curve"),
        {"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eA", "kid": "symmetric"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": ["RSA"], "kid": "odd"},
        {**public(RSA, "x"), "kid": 7},
    ]
    found = await provider.fetch(ISSUER)
    assert sorted(found) == ["k1", "k2", "k3"]
    assert not any(key.is_private for key in found.values())
    assert provider.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


def of(**changed: Any) -> TokenProvider:
    return TokenProvider(**changed)


def answering(name: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> TokenProvider:
    answer = httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))
    return TokenProvider(answers={name: answer})


REDIRECT = {"location": "https://login.hospital.example/elsewhere"}
LIES = {
    "is another issuer": of(discovery={"issuer": "https://evil.example"}),
    "names no issuer": of(discovery={"issuer": None}),
    "names no keys": of(discovery={"jwks_uri": None}),
    "names keys that are not sent by TLS": of(jwks_uri="http://login.hospital.example/keys"),
    "names keys on the replica's machine": of(jwks_uri="http://127.0.0.1:8000/keys"),
    "names keys on the replica's machine by TLS": of(jwks_uri="https://localhost/keys"),
    "names keys at the cloud's address": of(jwks_uri="https://169.254.169.254/keys"),
    "names keys in a file": of(jwks_uri="file:///etc/passwd"),
    "sends the discovery elsewhere": answering("openid-configuration", b"", 302, REDIRECT),
    "sends the keys elsewhere": answering("keys", b"", 302, REDIRECT),
    "fails": answering("keys", b"{}", 500),
    "says no JSON": answering("keys", b"<html>"),
    "says a list": answering("keys", b"[]"),
    "nests": answering("keys", b'{"keys":' + b"[" * 90 + b"]" * 90 + b"}"),
    "says no set of keys": answering("keys", b'{"keys": {}}'),
    "has too many keys": of(keys=[public(ED, f"k{number}") for number in range(65)]),
    "never ends": answering("keys", b" " * (provider_keys.MAX_BYTES + 1)),
    "compresses": answering("keys", gzip.compress(b'{"keys": []}'), headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("what", LIES)
async def test_a_provider_that_lies_has_no_keys(what: str) -> None:
    with pytest.raises(KeysUnavailable) as refused:
        await LIES[what].fetch(ISSUER)
    assert refused.value.code == "provider-misanswered"


async def test_a_slow_provider_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_keys, "FETCH_SECONDS", 0.01)
    with pytest.raises(KeysUnavailable) as refused:
        await TokenProvider(slow_seconds=3600.0).fetch(ISSUER)
    assert refused.value.code == "provider-unreachable"


async def test_a_provider_on_this_machine_may_have_its_keys_here() -> None:
    provider = TokenProvider("http://127.0.0.1:9000", keys=[public(EC, "k1")])
    assert sorted(await provider.fetch(provider.issuer)) == ["k1"]


async def test_no_client_of_ours_follows_redirects_or_takes_compressed_answers() -> None:
    async with provider_keys.new_client() as client:
        assert not client.follow_redirects
        assert client.headers["accept-encoding"] == "identity"
