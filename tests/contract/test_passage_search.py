"""The port of search: a replica's memory and PostgreSQL find the same, and nothing that was replaced or removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import permutations

import pytest

from consumers.purge.handlers import on_purge_requested
from producers.commands import requests
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.errors import ObjectNotFound, Refused
from tenancy.knowledge.database.connection import Database
from tenancy.tenant_id import TenantId
from tests.contract.searched_indexes import SearchedIndexes, named, texts
from tests.unit.knowledge.index_parts import TENANT, Documents
from tests.unit.operator_parts import NOW, Parts, purge_ports

OTHER = TenantId("t10")
DAY = timedelta(days=1)


@pytest.fixture(params=["memory", "postgres"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[SearchedIndexes]:
    if request.param == "memory":
        yield SearchedIndexes(Parts())
        return
    async with Database(request.getfixturevalue("database_url")) as database:
        yield SearchedIndexes(Parts(), database)


async def test_a_passage_is_found_with_its_scores_its_version_and_the_title_of_its_document(
    house: SearchedIndexes,
) -> None:
    index = await house.index()
    await index.handle(
        await index.upserted("d1", 3, "Apixaban dose is 5 mg."),
        await index.upserted("d2", 1, "Call the ward."),
    )
    searched = await house.search("apixaban dose", top_k=1)
    [one] = searched.found
    assert (named(one), one.passage.path, one.passage.text) == (("d1", 3), "Formulary", "Apixaban dose is 5 mg.")
    assert one.score == pytest.approx(2 / 61), "it is the first by meaning and by words"
    assert one.similarity is not None
    vectors = (await index.embedder.embed(["apixaban dose", one.passage.said], "plain")).vectors
    assert one.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=0.001)
    assert searched.titles == {"d1": "Formulary"}


async def test_a_replaced_document_is_found_in_its_new_version_alone_also_by_an_older_view(
    house: SearchedIndexes,
) -> None:
    index, replica = await house.index(), house.replica()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose is 5 mg."))
    before = await house.state()
    assert texts(await house.search("apixaban dose", by=replica)) == ["Apixaban dose is 5 mg."]
    await index.handle(await index.upserted("d1", 2, "Apixaban dose is 2.5 mg."))
    assert texts(await house.search("apixaban dose", by=replica)) == ["Apixaban dose is 2.5 mg."]
    assert texts(await house.search("apixaban dose", by=house.replica(), view=before)) == ["Apixaban dose is 2.5 mg."]


@pytest.mark.parametrize("order", permutations(range(4)))
async def test_whatever_order_the_events_come_in_and_however_often_the_highest_version_counts(
    house: SearchedIndexes, order: tuple[int, ...]
) -> None:
    index = await house.index()
    told: list[Event[Documents]] = [
        await index.upserted("d1", 1, "Apixaban dose is 5 mg."),
        index.removed("d1", 1),
        await index.upserted("d1", 2, "Apixaban dose is 2.5 mg."),
        await index.upserted("d2", 1, "Warfarin dose is by INR."),
    ]
    handled = set[int]()
    for number in (*order, *order[:2]):
        await index.handle(told[number])
        handled.add(number)
        if handled & {1, 2} and (await house.state()).passages:
            assert "Apixaban dose is 5 mg." not in texts(await house.search("dose"))
    assert sorted(texts(await house.search("dose"))) == ["Apixaban dose is 2.5 mg.", "Warfarin dose is by INR."]
    await index.handle(index.removed("d1", 2), *told)
    assert texts(await house.search("dose")) == ["Warfarin dose is by INR."]


async def test_dates_and_filters_decide_what_is_found(house: SearchedIndexes) -> None:
    index = await house.index()
    for name, (begins, ends) in {
        "always": (None, None),
        "past": (None, -1),
        "ends": (-1, 0),
        "begins": (0, 1),
        "future": (1, None),
    }.items():
        dates = [None if day is None else NOW + day * DAY for day in (begins, ends)]
        await index.handle(await index.upserted(name, 1, f"The dose {name}.", begins=dates[0], ends=dates[1]))

    async def found(days: int, *ids: str) -> list[str]:
        searched = await house.search("dose", at=NOW + days * DAY, top_k=9, ids=frozenset(ids) if ids else None)
        return sorted(named(one)[0] for one in searched.found)

    assert await found(0) == ["always", "begins"]
    assert await found(-2) == ["always", "past"]
    assert await found(1) == ["always", "future"]
    assert await found(0, "begins", "future", "missing") == ["begins"]
    assert await found(0, "missing") == []


async def test_a_question_by_another_embedder_finds_by_words_alone(house: SearchedIndexes) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."), await index.upserted("d2", 1, "Call the ward."))
    assert len((await house.search("apixaban")).found) == 2
    [one] = (await house.search("apixaban", embedder="another")).found
    assert (named(one), one.similarity) == (("d1", 1), None)


async def test_what_no_word_and_no_document_answers_is_no_error(house: SearchedIndexes) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    assert (await house.search("unheard", embedder="another")).found == []
    assert (await house.search("?", embedder="another")).found == []


async def test_tenants_never_meet(house: SearchedIndexes) -> None:
    for tenant, text in ((TENANT, "Apixaban dose is 5 mg."), (OTHER, "Apixaban dose is 9 mg.")):
        index = await house.index(tenant)
        await index.handle(await index.upserted("d1", 1, text))
    replica = house.replica()
    for tenant, text in ((TENANT, "Apixaban dose is 5 mg."), (OTHER, "Apixaban dose is 9 mg.")) * 2:
        assert texts(await house.search("apixaban dose", by=replica, tenant=tenant)) == [text]


async def test_side_by_side_questions_each_get_their_own_answer(house: SearchedIndexes) -> None:
    index, replica = await house.index(), house.replica()
    drugs = [f"drug{number}" for number in range(12)]
    await index.handle(*[await index.upserted(drug, 1, f"The dose of {drug}.") for drug in drugs])
    found = await asyncio.gather(*[house.search(drug, by=replica, top_k=1) for drug in drugs])
    assert [named(one.found[0])[0] for one in found] == drugs


async def test_of_a_fenced_tenant_nothing_is_found_by_a_replica_that_had_not_asked(house: SearchedIndexes) -> None:
    index = await house.index()
    assert await index.handle(await index.upserted("d1", 1, "Apixaban dose.")) == [Outcome.EFFECT]
    view = await house.state()
    await requests.request_purge(house.parts.tenancy, TENANT, requested_by="op")
    ports = purge_ports(house.parts, database=house.database)
    await on_purge_requested(house.parts.publisher.events[-1], ports)
    await ports.driver.reconcile()
    with pytest.raises((Refused, ObjectNotFound)):
        await house.search("apixaban", view=view)
