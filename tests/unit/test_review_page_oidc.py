"""Signing in to the review page by OpenID Connect, at a provider on this machine that can also lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from deploy.local.ports import LOOPBACK, free_ports
from producers.review_page.identity_provider import IdentityProvider, NotLetIn
from producers.sources.source_key import SourceKey
from tests.fixtures.oidc_provider import CLIENT, SECRET, Provider
from tests.fixtures.served import served
from tests.unit.review_page_parts import URL, Browser, Desk, desk_of

SUBJECT = "alice@hospital.example"
WHO = {"sub": SUBJECT, "sano_tenant": "t1", "sano_role": "reviewer"}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    [port] = free_ports(1)
    made = Provider(f"http://{LOOPBACK}:{port}")
    with served(made.app(), port):
        yield made


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.claims, running.lie, running.signs_with = dict(WHO), lambda claims: claims, None
    return running


def known(provider: Provider, secret: str = SECRET) -> IdentityProvider:
    return IdentityProvider(provider.issuer, CLIENT, secret, "sano_tenant", "sano_role", URL, SourceKey(b"k" * 32))


@pytest.fixture
async def desk(provider: Provider) -> Desk:
    made = await desk_of()
    made.page.links, made.page.provider = None, known(provider)
    return made


async def sign_in(browser: Browser) -> httpx.Response:
    """As a browser: to the provider, and with its answer back to the page."""
    away = await browser.get("/sign-in/provider")
    assert away.status_code == 302, away.text
    async with httpx.AsyncClient() as outside:
        back = (await outside.get(away.headers["location"])).headers["location"]
    assert back.startswith(f"{URL}/sign-in/callback?")
    return await browser.get(back)


async def test_somebody_whom_the_provider_vouches_for_is_signed_in_for_one_role_at_one_tenant(desk: Desk) -> None:
    browser = Browser(desk.app)
    assert "Sign in with your organisation" in await browser.look("/sign-in")
    answer = await sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
    html = await browser.look("/queue")
    assert re.search(r"reviewer · tenant <b>t1</b>", html)


async def test_a_person_has_the_same_id_at_each_sign_in_and_no_name_in_it(desk: Desk) -> None:
    assert desk.page.provider is not None
    one, again = (desk.page.provider.person_of(WHO).id for _ in range(2))
    assert one == again
    assert "alice" not in one
    others = [
        desk.page.provider.person_of({**WHO, "sub": "bob"}),
        desk.page.provider.person_of({**WHO, "sano_tenant": "t2"}),
    ]
    assert len({one, *(other.id for other in others)}) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"sano_tenant": None},
        {"sano_tenant": ["t1"]},
        {"sano_tenant": ["t1", "t2"]},
        {"sano_tenant": "T 1"},
        {"sano_role": "admin"},
        {"sano_role": None},
        {"sano_role": []},
        {"sano_role": ["reviewer", "compliance"]},
        {"sub": ""},
        {"sub": 7},
    ],
    ids=str,
)
async def test_who_has_not_exactly_one_tenant_and_one_role_is_not_let_in(desk: Desk, changed: dict[str, Any]) -> None:
    assert desk.page.provider is not None
    assert desk.page.provider.person_of({**WHO, "sano_role": ["compliance"]}).role == "compliance"
    with pytest.raises(NotLetIn):
        desk.page.provider.person_of({**WHO, **changed})


async def test_who_wrote_a_text_in_the_record_system_does_not_review_it(desk: Desk, provider: Provider) -> None:
    key = SourceKey(b"k" * 32)
    by_fhir, by_hl7 = (key.opaque_id("author", "t1", name) for name in ("Practitioner/12", "4711"))
    await desk.review().handle(await desk.review().proposed("e1", author_id=by_fhir))
    await desk.review().handle(await desk.review().proposed("e2", author_id=by_hl7))
    await desk.review().handle(await desk.review().proposed("e3", author_id=key.opaque_id("author", "t1", "4712")))
    provider.claims = {**WHO, "fhirUser": ["https://ehr.example/fhir/Practitioner/12/", " 4711"]}
    browser = Browser(desk.app)
    await sign_in(browser)
    for example in ("e1", "e2"):
        assert "You wrote or edited this version" in await browser.look(f"/examples/{example}")
        answer = await browser.send_form(f"/examples/{example}/approve", version="1")
        assert answer.status_code == 409
        assert "does not review it" in answer.text
    await browser.look("/examples/e3")
    assert (await browser.send_form("/examples/e3/approve", version="1")).status_code == 303
    [said] = await desk.curated()
    assert getattr(said, "example_id", None) == "e3"


@pytest.mark.parametrize(
    "said", [7, {"a": 1}, [""], ["a", 1], ["x"] * 9, "https://ehr.example/staff/a/b", " "], ids=str
)
async def test_who_is_nobody_that_could_be_known_again_is_not_let_in(desk: Desk, said: Any) -> None:
    assert desk.page.provider is not None
    with pytest.raises(NotLetIn):
        desk.page.provider.person_of({**WHO, "fhirUser": said})


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another nonce": lambda claims: {**claims, "nonce": "other"},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "another client": lambda claims: {**claims, "aud": "another-client"},
    "another issuer": lambda claims: {**claims, "iss": "https://other.example"},
    "over": lambda claims: {**claims, "exp": claims["iat"] - 1000},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_token_that_is_not_for_this_sign_in_signs_nobody_in(desk: Desk, provider: Provider, lie: str) -> None:
    provider.lie = LIES[lie]
    browser = Browser(desk.app)
    answer = await sign_in(browser)
    assert answer.status_code == 409
    assert "not set up for this page" in answer.text
    assert SUBJECT not in answer.text
    assert (await browser.get("/queue")).headers["location"] == "/sign-in"


async def test_a_token_by_another_key_signs_nobody_in(desk: Desk, provider: Provider) -> None:
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "k1"})
    assert (await sign_in(Browser(desk.app))).status_code == 409


async def test_an_answer_that_another_browser_asked_for_or_that_comes_again_signs_nobody_in(desk: Desk) -> None:
    mine, other = Browser(desk.app), Browser(desk.app)
    away = (await mine.get("/sign-in/provider")).headers["location"]
    asked = parse_qs(urlsplit(away).query)
    assert asked["redirect_uri"] == [f"{URL}/sign-in/callback"]
    async with httpx.AsyncClient() as outside:
        back = (await outside.get(away)).headers["location"]
    assert (await other.get(back)).status_code == 409, "a forged sign-in: the state is not this browser's"
    assert (await mine.get(back)).status_code == 303
    await mine.look("/queue")
    await mine.send_form("/sign-out")
    assert (await mine.get(back)).status_code == 409
    assert (await mine.get("/sign-in/callback?error=access_denied&error_description=alice")).status_code == 409


async def test_a_wrong_secret_or_a_provider_that_is_out_signs_nobody_in(desk: Desk, provider: Provider) -> None:
    desk.page.provider = known(provider, "wrong")
    assert (await sign_in(Browser(desk.app))).status_code == 409
    assert provider.refused == ["client"]
    [unused] = free_ports(1)
    desk.page.provider = known(Provider(f"http://{LOOPBACK}:{unused}"))
    assert (await Browser(desk.app).get("/sign-in/provider")).status_code == 503
