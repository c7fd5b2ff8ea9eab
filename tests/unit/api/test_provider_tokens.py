"""Tokens of a tenant's identity provider: taken as its tenant's, and with one answer for everything that is wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from producers.commands.identity_providers import remove_provider, set_provider
from schemas.objects.state import PurgeState, TenantState
from tenancy.tenant_id import TenantId
from tests.fixtures.token_provider import EC, ED, ISSUER, RSA, TokenProvider, by_secret, public, token
from tests.unit.api.replica import ACTIVE, BODIES, CHAT, NOW, OTHER, PURGED, TENANT, Bench, code

OTHER_ISSUER = "https://login.clinic.example"


class Clinic:
    """A replica whose tenant ``t1`` has an identity provider, and by whose clock nothing has been asked yet."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.provider, self.other = bench, TokenProvider(), TokenProvider(OTHER_ISSUER)
        self.seconds = 0.0
        known = bench.api.credentials.providers
        known.now = lambda: self.seconds
        known.fetch = lambda issuer: (self.provider if issuer == ISSUER else self.other).fetch(issuer)

    async def trust(self, tenant: TenantId = TENANT, provider: TokenProvider | None = None, **claims: str) -> None:
        await set_provider(
            self.bench.tenancy,
            tenant,
            issuer=(provider or self.provider).issuer,
            audience=f"sanolith:{tenant}",
            required_claims=claims,
            scopes=["chat"],
            set_by="op",
        )

    def claims(self, **changed: Any) -> dict[str, Any]:
        return self.provider.claims(self.bench.now, TENANT, **changed)

    async def ask(self, text: str) -> tuple[int, str]:
        async with self.bench.client() as client:
            answer = await client.post(CHAT, json=BODIES[CHAT], headers={"Authorization": f"Bearer {text}"})
        adapter = answer.headers.get("x-sano-adapter", "")
        return answer.status_code, adapter if answer.status_code == 200 else code(answer)


@pytest.fixture
async def clinic(bench: Bench) -> Clinic:
    made = Clinic(bench)
    await made.trust()
    return made


REFUSED = (401, "invalid_token")


@pytest.mark.parametrize(("key", "kid", "alg"), [(RSA, "k1", "RS256"), (EC, "k2", "ES256"), (ED, "k3", "EdDSA")])
async def test_a_token_of_the_provider_is_answered_as_its_tenant(clinic: Clinic, key: Any, kid: str, alg: str) -> None:
    assert await clinic.ask(token(clinic.claims(), key, kid, alg=alg, typ="at+jwt")) == (200, ACTIVE)
    assert await clinic.ask(token(clinic.claims(aud=["account", f"sanolith:{TENANT}"]), key, kid)) == (200, ACTIVE)
    assert clinic.provider.fetches == 1


async def test_its_tokens_are_good_for_the_scopes_that_the_operator_gave(clinic: Clinic) -> None:
    async with clinic.bench.client() as client:
        headers = {"Authorization": f"Bearer {token(clinic.claims())}"}
        answer = await client.post("/v1/embeddings", json={"input": "q"}, headers=headers)
    assert (answer.status_code, code(answer)) == (403, "insufficient_scope")


def forged(clinic: Clinic) -> dict[str, str]:
    """What an attacker does, and the token. It has a valid token of its own at each provider."""
    claims, at = clinic.claims(), int(clinic.bench.now.timestamp())
    strange, small = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    good = token(claims)
    head, body, signature = good.split(".")

    def part(held: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(held).encode()).rstrip(b"=").decode()

    made = {
        "a key of its own": token(claims, strange),
        "a key of its own in the header": token(claims, strange, jwk=public(strange, "k1")),
        "a key to fetch": token(claims, strange, jku="https://evil.example/keys"),
        "another curve's key": token(claims, small, "k2"),
        "a kid that nobody has": token(claims, strange, "k9"),
        "no kid": token(claims, kid=...),
        "a kid that is a list": token(claims, kid=["k1"]),
        "a kid of another kind of key": token(claims, kid="k2"),
        "RS512": token(claims, alg="RS512"),
        "PS256": token(claims, alg="PS256"),
        "HS256 with the public key": by_secret(claims, RSA.as_pem(private=False)),
        "HS256 with the modulus": by_secret(claims, str(RSA.as_dict()["n"]).encode()),
        "none": f"{part({'alg': 'none', 'kid': 'k1'})}.{body}.",
        "none with a signature": f"{part({'alg': 'none', 'kid': 'k1'})}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "other claims under the signature": f"{head}.{part({**claims, 'sub': 'x'})}.{signature}",
        "a critical header": token(claims, crit=["exp"], exp=1),
        "a token for logging out": token(claims, typ="logout+jwt"),
        "the other provider's key": token(claims, EC, "k1", alg="ES256"),
        "the other provider's token": token(clinic.other.claims(clinic.bench.now, TENANT), EC, "other", alg="ES256"),
        "the other provider's key under this issuer": token(claims, EC, "other", alg="ES256"),
        "an issuer with a slash more": token(clinic.claims(iss=ISSUER + "/")),
        "an issuer that nobody has": token(clinic.claims(iss="https://evil.example")),
        "the cloud's own address": token(clinic.claims(iss="http://169.254.169.254/latest")),
        "another tenant's audience": token(clinic.claims(aud=f"sanolith:{OTHER}")),
        "two tenants' audiences": token(clinic.claims(aud=[f"sanolith:{TENANT}", f"sanolith:{OTHER}"])),
        "another spelling of the audience": token(clinic.claims(aud=f"sanolith/{TENANT}")),
        "an audience that only begins so": token(clinic.claims(aud=f"sanolith:{TENANT}:x")),
        "a purged tenant's audience": token(clinic.claims(aud=f"sanolith:{PURGED}")),
        "an unknown tenant's audience": token(clinic.claims(aud="sanolith:never-there")),
        "no tenant's audience": token(clinic.claims(aud="account")),
        "too many audiences": token(clinic.claims(aud=["x"] * 99 + [f"sanolith:{TENANT}"])),
        "an audience that is a number": token(clinic.claims(aud=7)),
        "expired": token(clinic.claims(iat=at - 600, exp=at)),
        "from the future": token(clinic.claims(iat=at + 3600, exp=at + 7200)),
        "before its time": token(clinic.claims(nbf=at + 3600)),
        "valid for a month": token(clinic.claims(exp=at + 30 * 86_400)),
        "an expiry that is no number": token(clinic.claims(exp="9999999999")),
        "an expiry without end": token(clinic.claims(exp=float("inf"))),
        "too long": token(clinic.claims(groups=["x" * 100] * 200)),
        "claims that nest": f"{head}.{base64.urlsafe_b64encode(b'[' * 9_000).rstrip(b'=').decode()}.{signature}",
    }
    return made | {f"no {name}": token(clinic.claims(**{name: ...})) for name in ("iss", "aud", "iat", "exp")}


async def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clinic.other.keys = [public(EC, "other")]
    await clinic.trust(OTHER, clinic.other)
    answers = {}
    for what, text in forged(clinic).items():
        async with clinic.bench.client() as client:
            answer = await client.post(CHAT, json=BODIES[CHAT], headers={"Authorization": f"Bearer {text}"})
        answers[what] = (answer.status_code, answer.text, answer.headers.get("www-authenticate"))
        assert text.split(".")[1] not in caplog.text
    (first, *_) = answers.values()
    assert first[0] == 401
    assert {what: answer for what, answer in answers.items() if answer != first} == {}
    assert clinic.bench.engine.asked == []
    assert {url.partition("/realms")[0] for url in clinic.provider.asked} <= {"https://login.hospital.example"}


async def test_two_tenants_of_one_issuer_are_told_apart_by_the_audience(clinic: Clinic) -> None:
    await clinic.trust(OTHER)
    theirs = token(clinic.provider.claims(clinic.bench.now, OTHER))
    status, adapter = await clinic.ask(theirs)
    assert status == 200 and adapter != ACTIVE
    assert await clinic.ask(token(clinic.claims())) == (200, ACTIVE)
    assert clinic.provider.fetches == 1, "one set of keys for one issuer"


@pytest.mark.parametrize(
    ("claims", "is_good"),
    [
        ({"scope": "openid chat"}, True),
        ({"scope": ["chat"]}, True),
        ({"scope": "chatter"}, False),
        ({"scope": {"chat": 1}}, False),
        ({}, False),
    ],
)
async def test_a_claim_that_is_required_has_to_be_there(clinic: Clinic, claims: dict[str, Any], is_good: bool) -> None:
    await clinic.trust(scope="chat")
    assert (await clinic.ask(token(clinic.claims(**claims))))[0] == (200 if is_good else 401)


async def test_a_required_claim_that_is_no_scope_is_one_text(clinic: Clinic) -> None:
    await clinic.trust(dept="radiology")
    assert await clinic.ask(token(clinic.claims(dept="radiology"))) == (200, ACTIVE)
    assert await clinic.ask(token(clinic.claims(dept="not radiology"))) == REFUSED


async def test_a_provider_that_is_removed_or_replaced_is_refused_at_the_next_request(clinic: Clinic) -> None:
    text = token(clinic.claims())
    assert (await clinic.ask(text))[0] == 200
    await clinic.trust(provider=clinic.other)
    assert await clinic.ask(text) == REFUSED
    await clinic.trust()
    assert (await clinic.ask(text))[0] == 200
    await remove_provider(clinic.bench.tenancy, TENANT, removed_by="op")
    assert await clinic.ask(text) == REFUSED


async def test_a_tenant_that_is_fenced_while_its_keys_are_fetched_is_refused(clinic: Clinic) -> None:
    fetch = clinic.provider.fetch

    def fenced(state: TenantState) -> TenantState:
        return state.evolve(status="purging", purge=PurgeState(purge_id="p1", fenced_at=NOW))

    async def while_it_is_fenced(issuer: str) -> Any:
        await clinic.bench.tenancy.states.swap(TENANT, fenced)
        return await fetch(issuer)

    clinic.bench.api.credentials.providers.fetch = while_it_is_fenced
    assert await clinic.ask(token(clinic.claims())) == REFUSED


# --- which keys there are, and when they are asked for


async def test_a_new_key_is_found_at_once_and_strangers_ask_once_a_minute(clinic: Clinic) -> None:
    assert (await clinic.ask(token(clinic.claims())))[0] == 200
    new = RSAKey.generate_key(2048)
    clinic.provider.keys = [public(new, "k9")]
    clinic.seconds = 59.0
    for number in range(5):
        assert await clinic.ask(token(clinic.claims(), new, f"k{number + 5}")) == REFUSED
    assert clinic.provider.fetches == 1
    clinic.seconds = 60.0
    assert (await clinic.ask(token(clinic.claims(), new, "k9")))[0] == 200
    assert clinic.provider.fetches == 2


async def test_a_key_that_is_taken_back_is_refused_after_ten_minutes(clinic: Clinic) -> None:
    text = token(clinic.claims(exp=int(clinic.bench.now.timestamp()) + 86_000))
    assert (await clinic.ask(text))[0] == 200
    clinic.provider.keys = [public(EC, "k2")]
    clinic.seconds = 601.0
    assert await clinic.ask(text) == REFUSED


async def test_keys_are_asked_for_anew_before_they_are_old_and_nobody_waits_for_that(clinic: Clinic) -> None:
    text = token(clinic.claims())
    assert (await clinic.ask(text))[0] == 200
    clinic.seconds, clinic.provider.slow_seconds = 301.0, 3600.0
    assert (await clinic.ask(text))[0] == 200
    assert (await clinic.ask(text))[0] == 200
    assert clinic.provider.fetches == 2


async def test_keys_of_a_provider_that_is_out_of_reach_are_good_for_an_hour(clinic: Clinic) -> None:
    text = token(clinic.claims())
    assert (await clinic.ask(text))[0] == 200
    clinic.provider.discovery = {"issuer": "https://evil.example"}
    for clinic.seconds, status in ((601.0, 200), (3600.0, 200), (3601.0, 401)):
        assert (await clinic.ask(text))[0] == status, clinic.seconds


async def test_many_callers_wait_for_one_question_and_callers_of_others_for_none(clinic: Clinic) -> None:
    clinic.other.keys = [public(EC, "other")]
    await clinic.trust(OTHER, clinic.other)
    theirs = token(clinic.other.claims(clinic.bench.now, OTHER), EC, "other")
    assert (await clinic.ask(theirs))[0] == 200
    clinic.provider.slow_seconds = 0.05
    waiting = [asyncio.create_task(clinic.ask(token(clinic.claims()))) for _ in range(3)]
    await asyncio.sleep(0)
    assert (await clinic.ask(theirs))[0] == 200
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200] * 3
    assert clinic.provider.fetches == 1


async def test_tokens_of_the_installation_are_taken_beside_the_providers(clinic: Clinic) -> None:
    assert (await clinic.bench.post(CHAT)).status_code == 200
    clinic.bench.now += timedelta(minutes=1)
    assert clinic.provider.fetches == 0
