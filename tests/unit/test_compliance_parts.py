"""Lists of compliance that grow with what a tenant is sent: a page of each costs the same however long the list is."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord, WaitingExample
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.storage.objects import ObjectStore, StoredObject
from tests.unit.review_page_parts import T1, Browser, Desk, desk_of

SHOWN = 5


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("producers.review_page.compliance.SHOWN_CONSENTS", SHOWN)
    monkeypatch.setattr("producers.review_page.compliance.SHOWN_WITHDRAWALS", SHOWN)
    return await desk_of()


async def add_consent(desk: Desk, consent_id: str, waiting: int = 0) -> None:
    """Never granted where something waits for it, else granted."""
    store, now = await desk.parts.tenancy.store(T1), desk.parts.now
    if not waiting:
        record = ConsentRecord(consent_id=consent_id, version=1, granted=True, event_id="v1", decided_at=now)
        await store.put_record(object_keys.consent(consent_id), record)
    for number in range(waiting):
        name = f"{consent_id}-e{number}"
        mark = WaitingExample(consent_id=consent_id, example_id=name)
        example = ExampleRecord(
            example_id=name, version=1, status="approved", decided_at=now, event_id="v1", consent_id=consent_id
        )
        await store.put_record(object_keys.example(name), example)
        await store.put_record(object_keys.waiting_example(consent_id, name), mark)


async def add_withdrawal(desk: Desk, number: int, *, is_closed: bool) -> None:
    store, at = await desk.parts.tenancy.store(T1), desk.parts.now + timedelta(seconds=number)
    step = "closed" if is_closed else "open"
    name = f"w{number:03}"
    record = WithdrawalRecord(withdrawal_id=name, example_id=f"e-{name}", withdrawn_at=at, deadline=at, step=step)
    await store.put_record(f"withdrawals/{step}/{name}", record)


async def pages_of(browser: Browser, path: str) -> list[list[str]]:
    """The rows' first cells, page by page, as far as the links lead."""
    pages, following = list[list[str]](), path
    while following:
        html = await browser.look(following)
        pages.append(re.findall(r'<th scope="row">(?:consent |example )?([^<]+)</th>', html))
        following = next(iter(re.findall(rf'href="({path}\?behind=[^"]+)">Next page', html)), "")
        assert (f'href="{path}">First page' in html) == (len(pages) > 1)
    return pages


async def test_a_page_of_consents_or_withdrawals_costs_the_same_with_ten_times_as_many(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: ObjectStore = desk.parts.objects
    reads, get = list[str](), objects.get

    async def counted(key: str) -> StoredObject:
        reads.append(key)
        return await get(key)

    async def costs(path: str) -> int:
        reads.clear()
        await browser.look(path)
        return len(reads)

    async def grow(first: int, end: int) -> None:
        for number in range(first, end):
            await add_consent(desk, f"c{number:03}")
            await add_withdrawal(desk, number, is_closed=number > SHOWN)

    await grow(0, 20)
    browser = await desk.signed_in(role="compliance")
    monkeypatch.setattr(objects, "get", counted)
    paths = ["/compliance/consents", "/compliance/withdrawals"]
    few = [await costs(path) for path in paths]
    await grow(20, 200)
    assert [await costs(path) for path in paths] == few


async def test_the_pages_show_every_consent_and_all_that_waits_for_it(desk: Desk) -> None:
    for number in range(3):
        await add_consent(desk, f"c{number}")
    await add_consent(desk, "c3", waiting=2 * SHOWN)
    await add_consent(desk, "c4")
    browser = await desk.signed_in(role="compliance")
    assert await pages_of(browser, "/compliance/consents") == [["c0", "c1", "c2", "c3"], ["c3"], ["c3", "c4"]]
    texts = [re.sub(r"<[^>]+>", " ", await browser.look("/compliance/consents"))]
    texts += [
        re.sub(r"<[^>]+>", " ", await browser.look(f"/compliance/consents?behind=c3/waiting/c3-e{n}")) for n in (1, 6)
    ]
    waiting = [int(re.findall(r"c3\s+never granted\s+0\s+never\s+(\d+)\s", text)[0]) for text in texts]
    assert waiting == [2, 5, 3]


async def test_the_pages_show_every_withdrawal_once_the_open_ones_first(desk: Desk) -> None:
    for number in range(3 * SHOWN - 1):
        await add_withdrawal(desk, number, is_closed=number % 2 == 0)
    browser = await desk.signed_in(role="compliance")
    names = [f"e-w{number:03}" for number in (*range(1, 3 * SHOWN - 1, 2), *range(0, 3 * SHOWN - 1, 2))]
    pages = await pages_of(browser, "/compliance/withdrawals")
    assert pages == [names[start : start + SHOWN] for start in range(0, len(names), SHOWN)]
    for path in ("withdrawals?behind=w1", "withdrawals?behind=../x", "consents?behind=c1/x/y", "consents?behind=/"):
        assert (await browser.get(f"/compliance/{path}")).status_code == 404
