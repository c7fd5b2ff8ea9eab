"""The reviewers' queue: each page and each next one costs what it shows, and all that waits is reached by them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from producers.queries.proposals import AT_A_TIME
from producers.review_page.people import REMEMBERED
from schemas.bus import events
from schemas.bus.outcome import Outcome
from tenancy.storage.objects import ObjectStore, StoredObject
from tests.unit.proposal_parts import content
from tests.unit.review_page_parts import Browser, Desk, desk_of

SHOWN = 5
PREFIX = "tenants/t1/proposals/open/"


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.review_page.queue.SHOWN_PROPOSALS", SHOWN)


@pytest.fixture
async def desk() -> Desk:
    return await desk_of(required=2)


async def propose(desk: Desk, first: int, end: int) -> list[str]:
    """Of these numbers, one a second; their ids, which stand in another order than their times."""
    of, ids = desk.review(), [f"e{(number * 7919) % 1009:04}" for number in range(first, end)]
    proposed = [await of.proposed(one) for one in ids]
    left = list(proposed)
    while left:
        left = left[len(await of.handle_run(*left[:50])) :]
    return ids


async def walk(desk: Desk, browser: Browser, path: str, lag: int = 1) -> list[str]:
    """Decide what the page offers, one after another, as far as it leads; the examples in that order.

    Curation takes ``lag`` decisions at a time.
    """
    seen: list[str] = []
    while True:
        where = (await browser.get(path)).headers["location"]
        if where.startswith("/queue"):
            await desk.curated()
            return [*seen, where]
        seen.append(where.removeprefix("/examples/"))
        assert seen.count(seen[-1]) == 1, "nobody is sent in circles"
        await browser.look(where)
        path = (await browser.send_form(f"{where}/approve", version="1")).headers["location"]
        if len(seen) % lag == 0:
            await desk.curated()


async def test_a_page_and_the_next_one_cost_the_same_with_ten_times_as_many_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: ObjectStore = desk.parts.objects
    reads = list[str]()
    get, keys = objects.get, objects.keys

    async def counted(key: str) -> StoredObject:
        reads.append(key)
        return await get(key)

    async def listed(prefix: str, *, after: str = "") -> AsyncIterator[str]:
        async for key in keys(prefix, after=after):
            reads.append(key)
            yield key

    async def costs(path: str) -> int:
        reads.clear()
        assert (await browser.get(path)).status_code in (200, 303)
        return len(reads)

    some = await propose(desk, 0, 20)
    browser = await desk.signed_in()
    monkeypatch.setattr(objects, "get", counted)
    monkeypatch.setattr(objects, "keys", listed)
    paths = ["/queue", "/queue/next", f"/queue/next?after={some[3]}"]
    few = [await costs(path) for path in paths]
    await propose(desk, 20, 200)
    assert [await costs(path) for path in paths] == few
    assert max(few) <= 4 * max(SHOWN, AT_A_TIME)


async def test_the_pages_show_all_that_waits_once_and_the_oldest_first(desk: Desk) -> None:
    ids = await propose(desk, 0, 3 * SHOWN + 1)
    browser = await desk.signed_in()
    path, pages = "/queue", list[list[str]]()
    while path:
        html = await browser.look(path)
        pages.append(re.findall(r'href="/examples/([^"]+)"', html))
        path = next(iter(re.findall(r'href="(/queue\?behind=[^"]+)">Next page', html)), "")
        assert f"Waits for you on this page: {len(pages[-1])}" in html
        assert ('href="/queue">First page' in html) == (len(pages) > 1)
    assert pages == [ids[start : start + SHOWN] for start in range(0, len(ids), SHOWN)]


async def test_what_fits_a_page_is_counted_and_a_place_that_is_none_is_not_found(desk: Desk) -> None:
    await propose(desk, 0, SHOWN)
    browser = await desk.signed_in()
    html = await browser.look("/queue")
    assert f"Waits for you: {SHOWN}" in html
    assert "Next page" not in html and "First page" not in html
    for path in ("/queue?behind=e1", "/queue?behind=../key", "/queue/next?after=../key"):
        assert (await browser.get(path)).status_code == 404


@pytest.mark.parametrize("lag", [1, REMEMBERED])
async def test_the_next_one_leads_two_reviewers_through_all_that_waits(desk: Desk, lag: int) -> None:
    ids = await propose(desk, 0, 3 * AT_A_TIME + 2)
    middle = AT_A_TIME + 3
    for person in ("rev-1", "rev-2"):
        browser = await desk.signed_in(person=person)
        assert await walk(desk, browser, f"/queue/next?after={ids[middle]}", lag) == [*ids[middle + 1 :], "/queue"]
        assert await walk(desk, browser, "/queue/next", lag) == [*ids[: middle + 1], "/queue"]
    assert desk.parts.stored_keys(PREFIX) == []


async def test_a_search_among_what_waits_for_others_is_cut_off_and_leads_to_where_it_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await propose(desk, 0, 3 * AT_A_TIME)
    browser = await desk.signed_in()
    assert await walk(desk, browser, "/queue/next") == [*ids, "/queue"]
    [late] = await propose(desk, 3 * AT_A_TIME, 3 * AT_A_TIME + 1)
    monkeypatch.setattr("producers.queries.proposals.LOOKED_AT", 2 * AT_A_TIME)
    [where] = await walk(desk, browser, "/queue/next")
    assert re.findall(r'href="/examples/([^"]+)"', await browser.look(where))[0] == ids[2 * AT_A_TIME]
    assert await walk(desk, browser, f"/queue/next?after={ids[2 * AT_A_TIME]}") == [late, "/queue"]


async def test_each_open_example_has_one_mark_and_what_is_over_has_none(desk: Desk) -> None:
    of = desk.review()
    first, second, third = [await of.proposed(f"e{number}") for number in (1, 2, 3)]
    await of.handle(first, second, third)
    edit = await of.proposed("e1", content(answer="Yes."), version=2, author_id="rev-9")
    await of.handle(edit)
    html = await (await desk.signed_in()).look("/queue")
    assert re.findall(r'href="/examples/([^"]+)"', html) == ["e2", "e3", "e1"], "an edit waits from when it was made"
    withdrawn = of.event(events.ExampleWithdrawn(example_id="e2", reason_code="patient-request"))
    await of.handle(withdrawn, of.reviewed(third, "rev-1"), of.reviewed(third, "rev-2"))
    assert [key.rpartition("/")[2] for key in desk.parts.stored_keys(PREFIX)] == ["e1"]
    assert await of.handle(second) == [Outcome.NOOP_STALE]
    assert [key.rpartition("/")[2] for key in desk.parts.stored_keys(PREFIX)] == ["e1"]
