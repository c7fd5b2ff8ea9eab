"""Who gets into the review page, and what its answers let a browser do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from producers.review_page.guards import BODY_BYTES
from producers.review_page.links import one_time_link
from producers.review_page.rates import OF_A_TENANT
from producers.review_page.web import COOKIE
from schemas.stores.registry import store_of_key
from tenancy.errors import BusUnavailable, Refused, StoreUnavailable
from tenancy.tokens import TokenIssuer
from tests.unit.review_page_parts import T1, URL, Browser, Desk, desk_of, have_asked


@pytest.fixture
async def desk() -> Desk:
    made = await desk_of()
    await made.review().handle(await made.review().proposed("e1"))
    return made


async def test_without_a_session_every_page_leads_to_signing_in_and_no_form_is_taken(desk: Desk) -> None:
    browser = Browser(desk.app)
    for path in ("/", "/queue", "/queue/next", "/examples/e1"):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path
    assert (await browser.post("/examples/e1/approve", data={"version": "1"})).status_code in (303, 403)
    assert desk.parts.publisher.events == []


async def test_a_link_signs_in_once_and_only_before_its_time_is_over(desk: Desk) -> None:
    link = desk.link()
    assert (await Browser(desk.app).post("/sign-in/link", data={"link": link})).status_code == 303
    again = await Browser(desk.app).post("/sign-in/link", data={"link": link})
    late = desk.link()
    desk.parts.now += timedelta(minutes=10)
    over = await Browser(desk.app).post("/sign-in/link", data={"link": late})
    api = TokenIssuer(desk.parts.keys.token, lambda: desk.parts.now).issue(T1)
    forged = [await Browser(desk.app).post("/sign-in/link", data={"link": text}) for text in ("", "x.y.z", api)]
    assert {answer.status_code for answer in (again, over, *forged)} == {409}
    assert all("was used, is over, or is none" in answer.text for answer in (again, over, *forged))
    assert COOKIE not in again.cookies


async def test_a_link_signs_in_once_at_all_processes_of_the_page_whenever_they_were_started(desk: Desk) -> None:
    link, before = desk.link(), desk.link()
    desk.parts.now += timedelta(seconds=2)
    other = Desk(desk.parts)
    answers = await asyncio.gather(
        *(Browser(each.app).post("/sign-in/link", data={"link": link}) for each in (desk, other) * 3)
    )
    assert sorted(answer.status_code for answer in answers) == [303, *[409] * 5]
    assert (await Browser(other.app).post("/sign-in/link", data={"link": before})).status_code == 303


async def test_a_copy_of_a_cookie_is_refused_everywhere_once_its_person_has_signed_out(desk: Desk) -> None:
    browser, colleague = await desk.signed_in(), await desk.signed_in(person="rev-2")
    other = Desk(desk.parts)
    copies = [Browser(each.app) for each in (desk, other)]
    for copy in copies:
        copy.cookies.set(COOKIE, browser.cookies[COOKIE])
        assert (await copy.get("/queue")).status_code == 200
    stolen = copies[0].cookies[COOKIE]
    await browser.send_form("/sign-out")
    for copy in copies:
        copy.cookies.set(COOKIE, stolen)
        for path in ("/queue", "/examples/e1"):
            answer = await copy.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        copy.cookies.set(COOKIE, stolen)
        assert "Sign in" in await copy.look("/sign-in")
        copy.cookies.set(COOKIE, stolen)
        forged = await copy.post("/examples/e1/approve", data={"version": "1", "token": browser.token})
        assert forged.status_code == 303
    assert desk.parts.publisher.events == []
    assert (await colleague.get("/queue")).status_code == 200
    again = await desk.signed_in()
    assert (await again.get("/queue")).status_code == 200


async def test_somebody_who_cannot_be_signed_out_everywhere_is_told_so_and_stays_signed_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await desk.signed_in()

    async def out(*_: object, **__: object) -> None:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as during:
        during.setattr(desk.parts.objects, "put", out)
        assert (await browser.send_form("/sign-out")).status_code == 503
    assert (await browser.get("/queue")).status_code == 200


async def test_what_is_kept_of_links_and_sessions_names_nobody_and_goes_once_they_are_over(desk: Desk) -> None:
    browser = await desk.signed_in(person="rev-7")
    await browser.send_form("/sign-out")
    spent = desk.parts.stored_keys("spent/")
    assert len(spent) == 2
    assert not any(name in key for key in spent for name in ("t1", "rev-7", browser.token))
    assert {store_of_key(key).name for key in spent} == {"spent"}
    desk.parts.now += timedelta(hours=1, minutes=5)
    await desk.signed_in()
    assert len(desk.parts.stored_keys("spent/")) == 3, "a link of ten minutes ago is kept for another's slow clock"
    desk.parts.now += timedelta(hours=8)
    await desk.signed_in()
    assert len(desk.parts.stored_keys("spent/")) == 1
    versions = [version async for version in desk.parts.objects.versions("spent/")]
    assert len(versions) == 1


async def test_a_form_without_a_session_is_not_waited_for_and_counts_as_a_strangers_request(desk: Desk) -> None:
    """Else whoever sends none to its end, again and again, would have every connection of the page."""

    async def never_ending() -> AsyncIterator[bytes]:
        yield b"token="
        await asyncio.Event().wait()

    stranger = Browser(desk.app)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "100"}
    statuses = []
    async with asyncio.timeout(20):
        for _ in range(31):
            answer = await stranger.post("/sign-out", content=never_ending(), headers=headers)
            statuses.append(answer.status_code)
    assert statuses == [*[303] * 30, 429]


async def test_one_tenants_people_have_no_more_of_the_page_at_once_than_leaves_others_theirs(desk: Desk) -> None:
    """Each of these waits for its turn at long work, however short the rate: a person's requests of a minute would have
    all connections."""
    ours = await desk.signed_in(role="compliance")
    theirs = await desk.signed_in("t2", role="compliance", person="rev-2")
    async with desk.page.long_work.of(T1):
        waiting = [asyncio.create_task(ours.get("/compliance/audit")) for _ in range(OF_A_TENANT)]
        await have_asked(desk, 1 + OF_A_TENANT)
        assert {(await ours.get(path)).status_code for path in ("/compliance", "/compliance/audit")} == {429}
        assert (await theirs.get("/compliance/audit")).status_code == 200
    assert {(await each).status_code for each in waiting} == {200}
    assert (await ours.get("/compliance")).status_code == 200
    assert desk.page.at_once._held == {}


async def test_a_page_that_takes_no_links_signs_nobody_in_by_one(desk: Desk) -> None:
    link, desk.page.links = desk.link(), None
    browser = Browser(desk.app)
    await browser.post("/sign-in/link", data={"link": link})
    assert (await browser.get("/queue")).headers["location"] == "/sign-in"


def test_a_links_code_is_in_the_fragment_and_it_lives_an_hour_at_most(desk: Desk) -> None:
    made = one_time_link(desk.parts.keys.token, f"{URL}/", T1, "reviewer", "rev-1", timedelta(minutes=5))
    assert made.startswith(f"{URL}/sign-in/link#ey")
    with pytest.raises(Refused):
        one_time_link(desk.parts.keys.token, URL, T1, "reviewer", "rev-1", timedelta(hours=2))


async def test_the_cookie_is_for_this_host_alone_and_for_no_script(desk: Desk) -> None:
    answer = await Browser(desk.app).post("/sign-in/link", data={"link": desk.link()})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-sano-review=")
    for flag in ("path=/", "secure", "httponly", "samesite=lax", "max-age=1800"):
        assert f"; {flag}" in cookie
    assert "domain" not in cookie


async def test_a_session_ends_when_unused_and_at_all_and_by_signing_out(desk: Desk) -> None:
    idle, whole, out = [await desk.signed_in(person=f"rev-{number}") for number in range(3)]
    await out.send_form("/sign-out")
    assert (await out.get("/queue")).status_code == 303
    for _ in range(18):
        desk.parts.now += timedelta(minutes=27)
        assert (await whole.get("/queue")).status_code == (200 if _ < 17 else 303)
    assert (await idle.get("/queue")).status_code == 303


async def test_a_cookie_that_was_changed_signs_nobody_in(desk: Desk) -> None:
    browser = await desk.signed_in()
    cookie = browser.cookies[COOKIE]
    browser.cookies.clear()
    browser.cookies.set(COOKIE, ("A" if cookie[0] != "A" else "B") + cookie[1:])
    assert (await browser.get("/queue")).headers["location"] == "/sign-in"


async def test_a_form_needs_the_token_of_its_own_session_and_this_origin(desk: Desk) -> None:
    browser, other = await desk.signed_in(), await desk.signed_in(person="rev-2")
    form = {"version": "1"}
    refused = [
        await browser.post("/examples/e1/approve", data=form),
        await browser.post("/examples/e1/approve", data={**form, "token": other.token}),
        await browser.post("/examples/e1/approve", json={**form, "token": browser.token}),
        await browser.post(
            "/examples/e1/approve", data={**form, "token": browser.token}, headers={"Origin": "https://evil.test"}
        ),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert desk.parts.publisher.events == []
    right = {**form, "token": browser.token}
    answer = await browser.post("/examples/e1/approve", data=right, headers={"Origin": URL})
    assert answer.status_code == 303


async def test_every_answer_forbids_foreign_scripts_frames_and_copies_in_caches(desk: Desk) -> None:
    browser = await desk.signed_in()
    for path in ("/queue", "/examples/e1", "/nothing", "/static/page.js", "/static/page.css"):
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert " style=" not in answer.text
        assert "<script>" not in answer.text


async def test_another_host_and_a_body_without_bounds_are_refused(desk: Desk) -> None:
    browser = await desk.signed_in()
    assert (await browser.get("/queue", headers={"Host": "evil.test"})).status_code == 421
    long = await browser.post("/sign-in/link", content=b"x" * (BODY_BYTES + 1))
    assert long.status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        yield b"token=x"

    assert (await browser.post("/sign-in/link", content=chunks())).status_code == 411


async def test_who_asks_too_often_waits_and_others_do_not(desk: Desk) -> None:
    slow = Desk(desk.parts, per_minute=10)
    eager, other = await slow.signed_in(), await slow.signed_in(person="rev-2")
    answers = [(await eager.get("/queue")).status_code for _ in range(12)]
    assert answers[-1] == 429
    assert (await other.get("/queue")).status_code == 200
    slow.parts.now += timedelta(minutes=1)
    assert (await eager.get("/queue")).status_code == 200
    tries = [(await Browser(slow.app).post("/sign-in/link", data={"link": "x"})).status_code for _ in range(40)]
    assert tries[-1] == 429


async def test_a_form_that_does_not_come_to_its_end_keeps_no_connection(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await desk.signed_in()
    monkeypatch.setattr("producers.review_page.page.FORM_SECONDS", 0.01)

    async def endless() -> AsyncIterator[bytes]:
        yield b"link="
        await asyncio.Event().wait()

    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "100"}
    for who, path in ((Browser(desk.app), "/sign-in/link"), (browser, "/examples/e1/approve")):
        async with asyncio.timeout(5):
            assert (await who.post(path, content=endless(), headers=headers)).status_code == 408


async def test_while_the_bus_is_out_a_decision_fails_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await desk.signed_in()

    async def out(_: object) -> None:
        raise BusUnavailable("no answer")

    monkeypatch.setattr(desk.parts.publisher, "publish", out)
    answer = await browser.send_form("/examples/e1/approve", version="1")
    assert answer.status_code == 503
    assert "Waits for you: 1" in await browser.look("/queue")


async def test_an_error_shows_and_logs_nothing_of_what_it_failed_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: object) -> None:
        raise ValueError("Mrs Example")

    browser = await desk.signed_in()
    monkeypatch.setattr("producers.review_page.queue.ReviewQueue.of", failing)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="Mrs Example"):
        await browser.get("/queue")  # the server logs what is raised, as a location
    assert "Mrs Example" not in caplog.text
