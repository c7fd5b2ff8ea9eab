"""A tenant's index in PostgreSQL: what lies there, who fills it, that nothing outlives a removal or a purge."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from consumers.ledger.inventory import Inventory
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy_changes import on_policy_changed
from inference.knowledge.database_search import DatabaseSearch
from inference.knowledge.port import IndexNotReady
from producers.commands import requests
from producers.commands.policies import set_policy
from schemas.bus.events import UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects.purges import PurgeRecord
from schemas.objects.usage import DATABASE_AREA
from schemas.stores.registry import STORES
from tenancy.errors import KeyDestroyed, Outage, Refused, TenantFenced
from tenancy.knowledge.database.connection import SETTINGS, Database, DatabaseFailed, DatabaseUnavailable
from tenancy.knowledge.database.filling import Filling
from tenancy.knowledge.database.tables import Tables, held
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.contract.searched_indexes import SearchedIndexes, admitted, named, texts
from tests.fixtures import raw_bytes
from tests.fixtures.markers import search
from tests.fixtures.postgres import Postgres
from tests.unit.knowledge.index_parts import TENANT, Index
from tests.unit.operator_parts import NOW, Parts, purge_ports
from tests.unit.test_purge_certificate import certified

OTHER = TenantId("t10")
STORE = "database.knowledge"
NOWHERE = "postgresql://sano@127.0.0.1:1/none"


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[SearchedIndexes]:
    async with Database(database_url) as database:
        yield SearchedIndexes(Parts(), database)


def filling(house: SearchedIndexes) -> Filling:
    assert house.database is not None
    return Filling(house.database, house.parts.tenancy.states, house.parts.tenancy.store)


async def size(house: SearchedIndexes, tenant: TenantId = TENANT) -> int | None:
    assert house.database is not None
    found = await held(house.database, tenant)
    return None if found is None else found[0]


async def index_of(house: SearchedIndexes, documents: int) -> Index:
    """The tenant's index once so many documents were handled, one after another."""
    index = await house.index()
    for number in range(documents):
        await index.handle(await index.upserted(f"d{number}", 1, f"Apixaban dose {number}."))
    return index


async def purging(
    house: SearchedIndexes, database: Database | None, quiesce_seconds: float = 0.0
) -> tuple[PurgePorts, str]:
    purge_id = await requests.request_purge(house.parts.tenancy, TENANT, requested_by="op")
    ports = purge_ports(house.parts, quiesce_seconds, database)
    await on_purge_requested(house.parts.publisher.events[-1], ports)
    await ports.driver.reconcile()
    return ports, purge_id


async def record_of(ports: PurgePorts, purge_id: str) -> PurgeRecord:
    return await ports.driver.records.read(TENANT, purge_id)


async def test_what_the_database_does_not_answer_is_an_outage_and_what_it_refuses_is_a_failure(
    house: SearchedIndexes,
) -> None:
    assert house.database is not None
    with pytest.raises(DatabaseUnavailable) as late:
        async with house.database.transaction(0.1) as cursor:
            await cursor.execute("SELECT pg_sleep(10)")
    assert isinstance(late.value, Outage)
    with pytest.raises(DatabaseFailed) as wrong:
        async with house.database.transaction(10) as cursor:
            await cursor.execute("SELECT 'a secret'::int")
    assert not isinstance(wrong.value, Outage)
    assert "secret" not in str(wrong.value)


async def test_a_process_that_hangs_in_a_transaction_holds_up_no_other_for_long(
    house: SearchedIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert house.database is not None
    assert SETTINGS["idle_in_transaction_session_timeout"] == "60s"
    monkeypatch.setitem(SETTINGS, "idle_in_transaction_session_timeout", "200ms")
    with pytest.raises(DatabaseUnavailable):
        async with house.database.transaction(10) as cursor:
            await Tables(TENANT).lock(cursor)
            async with house.database.transaction(10) as other:
                await Tables(TENANT).lock(other)  # once the server has given up the first
            await cursor.execute("SELECT 1")


# --- what lies there


async def test_no_word_of_a_document_lies_in_the_database_but_ids_and_vectors_do(
    house: SearchedIndexes, postgres: Postgres
) -> None:
    index, word, name = await house.index(), f"canary{secrets.token_hex(8)}", f"doc-{secrets.token_hex(8)}"
    await index.handle(await index.upserted(name, 1, f"The dose of {word} is 5 mg.", f"Call {word} at night."))
    assert word in texts(await house.search(word))[0]
    [segment] = await index.segments()
    postgres.flush()
    places = list(raw_bytes.files(postgres.data))
    key = (await house.parts.tenancy.keys.open(TENANT)).data_key
    for secret in (word, "Formulary", key):
        assert search(secret, places) == []
    terms = [int(term).to_bytes(8, order) for term in segment.postings.terms for order in ("little", "big")]
    assert not any(term in body for _, body in places for term in terms), "hashes without a key name their words"
    vector = segment.vectors[0].astype("<f2").tobytes()
    assert search(name, places), "or the search is blind"
    assert search(vector, places), "as docs/threat-model.md says"


async def test_the_rows_of_two_tenants_share_no_term_and_no_schema(house: SearchedIndexes, database_url: str) -> None:
    terms = []
    for tenant in (TENANT, OTHER):
        index = await house.index(tenant)
        await index.handle(await index.upserted("d1", 1, "Apixaban dose is 5 mg."))
        await house.search("apixaban", tenant=tenant)
        with psycopg.connect(database_url) as connection:
            schema = Identifier(Tables(tenant).schema)
            rows = connection.execute(SQL("SELECT term FROM {}.words").format(schema)).fetchall()
            terms.append({term for (term,) in rows})
    assert len(terms[0]) == len(terms[1]) == 6
    assert terms[0].isdisjoint(terms[1])


async def test_both_searches_rank_alike_also_after_changes(house: SearchedIndexes, database_url: str) -> None:
    in_memory = SearchedIndexes(house.parts)
    index, rng = await house.index(), np.random.default_rng(1)
    words = [f"w{number}" for number in range(60)]

    async def told(number: int, version: int) -> None:
        said = [" ".join(rng.choice(words, size=12)) for _ in range(3)]
        await index.handle(await index.upserted(f"d{number}", version, *said))

    for number in range(40):
        await told(number, 1)
    await house.search("w1")
    for number in range(0, 40, 3):
        await told(number, 2)
        await index.handle(index.removed(f"d{number + 1}", 1))
    assert counted(database_url) == found_in(database_url)
    in_memory.indexes = house.indexes
    replica, other = house.replica(), in_memory.replica()
    for _ in range(30):
        query = " ".join(rng.choice(words, size=4))
        ours, theirs = [await house.search(query, by=one) for one in (replica, other)]
        assert [one.score for one in ours.found] == pytest.approx([one.score for one in theirs.found], rel=0.02)
        assert named(ours.found[0]) == named(theirs.found[0])


def counted(url: str) -> dict[int, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(Tables(TENANT).sql("SELECT term, passages FROM {schema}.words")).fetchall())


def found_in(url: str) -> dict[int, int]:
    """What is to be counted."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(Tables(TENANT).sql("SELECT terms FROM {schema}.passages")).fetchall()
    return dict(Counter(term for (terms,) in rows for term in set(terms)))


# --- who fills it, and what is found meanwhile


async def test_an_index_is_made_with_its_first_question_and_anew_where_the_database_lost_it(
    house: SearchedIndexes, database_url: str
) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."), await index.upserted("d2", 1, "Call the ward."))
    assert await size(house) is None, "nobody has asked"
    replica = house.replica()
    assert texts(await house.search("apixaban", by=replica, top_k=1)) == ["Apixaban dose."]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(Tables(TENANT).schema)))
    assert texts(await house.search("apixaban", by=replica, top_k=1)) == ["Apixaban dose."]


async def test_the_consumer_takes_out_what_was_removed_before_the_event_counts_as_handled(
    house: SearchedIndexes,
) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."), await index.upserted("d2", 1, "Call the ward."))
    await house.search("apixaban")
    await index.handle(index.removed("d1", 1), await index.upserted("d2", 2, "Call the desk."))
    assert await size(house) == 1, "nobody has asked since"
    assert texts(await house.search("ward desk")) == ["Call the desk."]


async def test_a_removal_that_did_not_reach_the_database_is_handled_again_and_never_cited_meanwhile(
    house: SearchedIndexes,
) -> None:
    index, replica = await house.index(), house.replica()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."), await index.upserted("d2", 1, "Apixaban ward."))
    view = await house.state()
    await house.search("apixaban", by=replica)
    removal = index.removed("d1", 1)
    async with Database(NOWHERE, wait_seconds=0.2) as unreachable:
        with pytest.raises(DatabaseUnavailable):
            await replace(index, database=unreachable).handle(removal)
    assert await size(house) == 2
    # By the set that is published, whatever the database still holds; and by a view from before, once that is known.
    assert texts(await house.search("apixaban", by=replica)) == ["Apixaban ward."]
    assert texts(await house.search("apixaban", by=house.replica(), view=view)) == ["Apixaban ward."]
    assert await index.handle(removal) == [Outcome.NOOP_DUPLICATE]
    assert await size(house) == 1


async def test_a_question_waits_for_its_index_a_while_and_is_then_told_when_to_ask_again(
    house: SearchedIndexes,
) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    assert house.database is not None
    replica = DatabaseSearch(house.parts.tenancy, house.database, admitted, patience_seconds=0.2)
    async with house.database.transaction(10) as cursor:
        await Tables(TENANT).lock(cursor)  # as who fills it
        with pytest.raises(IndexNotReady) as told:
            await house.search("apixaban", by=replica)
    assert told.value.seconds == 0.2
    waiting = list(replica._filling.values())
    assert await asyncio.gather(*waiting) == [True], "it is filled all the same"
    assert texts(await house.search("apixaban", by=replica)) == ["Apixaban dose."]


async def test_two_replicas_fill_one_index_and_put_in_nothing_twice(house: SearchedIndexes) -> None:
    index = await index_of(house, 6)
    assert len((await index.held()).segments) == 6, "each a segment of its own"
    replicas = [house.replica(), house.replica()]
    found = await asyncio.gather(*[house.search("apixaban", by=one, top_k=9) for one in replicas])
    assert [len(one.found) for one in found] == [6, 6]
    assert await size(house) == 6


async def test_what_is_cut_off_while_it_fills_leaves_an_index_that_the_next_one_completes(
    house: SearchedIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await index_of(house, 3)
    step, steps = Filling._step, 0

    async def cut_off(self: Filling, tenant: TenantId, new: tuple[str, int] | None) -> bool:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise asyncio.CancelledError
        return await step(self, tenant, new)

    monkeypatch.setattr(Filling, "_step", cut_off)
    with pytest.raises(asyncio.CancelledError):
        await filling(house).fill(TENANT, index.embedder.name, index.embedder.dimensions)
    assert await size(house) == 1
    assert len((await house.search("apixaban", top_k=9)).found) == 3


async def test_the_policy_back_to_memory_drops_the_index_and_nobody_makes_it_again(house: SearchedIndexes) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    await house.search("apixaban")
    await set_policy(house.parts.tenancy, TENANT, {"knowledge_index": "memory"})
    changed = house.parts.publisher.events[-1]
    assert await on_policy_changed(changed, purge_ports(house.parts, database=house.database)) == Outcome.NOOP_DUPLICATE
    assert await size(house) is None
    await index.handle(await index.upserted("d2", 1, "Call the ward."))
    await filling(house).follow(TENANT)
    with pytest.raises(Refused, match="in memory"):
        await filling(house).fill(TENANT, index.embedder.name, index.embedder.dimensions)
    assert await size(house) is None


async def test_a_round_drops_what_should_not_be_there_and_nothing_else(
    house: SearchedIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a policy that changed while the database was out of reach, and of a purged tenant in a restored backup."""
    third = TenantId("t3")
    for tenant in (TENANT, OTHER, third):
        index = await house.index(tenant)
        await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
        await house.search("apixaban", tenant=tenant)
    async with Database(NOWHERE, wait_seconds=0.2) as unreachable:
        await set_policy(house.parts.tenancy, OTHER, {"knowledge_index": "memory"})
        changed = house.parts.publisher.events[-1]
        told = await on_policy_changed(changed, purge_ports(house.parts, database=unreachable))
    assert told == Outcome.NOOP_DUPLICATE, "a purge command behind it does not wait for the database"
    ports, purge_id = await purging(house, house.database)
    assert (await record_of(ports, purge_id)).step == "certified"
    assert house.database is not None
    async with house.database.transaction(10) as cursor:
        await Tables(TENANT).create(cursor, "words", 64)
    assert [await size(house, tenant) for tenant in (TENANT, OTHER, third)] == [0, 1, 1]
    await ports.driver.sweep()
    assert [await size(house, tenant) for tenant in (TENANT, OTHER, third)] == [None, None, 1]


async def test_a_consumer_without_the_database_refuses_such_a_tenants_documents_before_it_changes_anything(
    house: SearchedIndexes,
) -> None:
    index = await house.index()
    with pytest.raises(Refused, match="SANO_KNOWLEDGE_DATABASE_URL"):
        await replace(index, database=None).handle(await index.upserted("d1", 1, "Apixaban dose."))
    assert (await house.parts.tenancy.active(TENANT)).state.knowledge is None


# --- what it costs


async def test_the_inventory_counts_a_tenants_index_and_needs_no_right_on_it(
    house: SearchedIndexes, postgres: Postgres, database_url: str
) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    await house.search("apixaban", tenant=TENANT)
    assert house.database is not None
    found = await held(house.database, TENANT)
    assert found is not None
    name = f"ledger_{secrets.token_hex(8)}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
    indexes = urlsplit(database_url).path.removeprefix("/")
    await house.index(OTHER)
    async with Database(postgres.url(indexes, role=name)) as database:
        inventory = Inventory(house.parts.tenancy, database)
        assert [await stored_of(house, inventory, tenant) for tenant in (TENANT, OTHER)] == [found[1], None]
    async with Database(NOWHERE, wait_seconds=0.2) as unreachable:
        house.parts.now += timedelta(days=1)
        with pytest.raises(DatabaseUnavailable):
            await Inventory(house.parts.tenancy, unreachable).take_of(TENANT)


async def stored_of(house: SearchedIndexes, inventory: Inventory, tenant: TenantId) -> int | None:
    await inventory.take_of(tenant)
    told = house.parts.publisher.events[-1].data
    assert isinstance(told, UsageRecorded)
    return {one.area: one.bytes for one in told.stored}.get(DATABASE_AREA)


# --- the purge


async def test_a_purge_counts_the_index_drops_it_and_certifies_that_it_is_gone(house: SearchedIndexes) -> None:
    for tenant in (TENANT, OTHER):
        index = await house.index(tenant)
        await index.handle(await index.upserted("d1", 1, "Apixaban dose."), await index.upserted("d2", 1, "The ward."))
        await house.search("apixaban", tenant=tenant)
    ports, purge_id = await purging(house, house.database)
    record = await record_of(ports, purge_id)
    assert (record.step, await size(house), await size(house, OTHER)) == ("certified", None, 2)
    [found] = [one for one in (await certified(house.parts, record)).stores if one.store == STORE]
    assert (found.outcome, found.medium, found.method) == ("empty", "database", "drop")
    assert found.before is not None
    assert (found.before.objects, found.before.size_bytes > 0) == (2, True)
    assert found.after is not None
    assert (found.after.total, found.probed_at) == (0, record.verified_at)
    for late in (
        filling(house).fill(TENANT, "words", 64),
        filling(house).follow(TENANT),
    ):
        with pytest.raises(TenantFenced):
            await late
    assert await size(house) is None


async def test_a_schema_that_is_back_at_the_second_look_is_dropped_again(house: SearchedIndexes) -> None:
    """As where an operator restores the database from a backup meanwhile."""
    await house.index()
    ports, purge_id = await purging(house, house.database, quiesce_seconds=60.0)
    record = await record_of(ports, purge_id)
    assert (record.step, len(record.verified_at)) == ("deleted", 1)
    assert house.database is not None
    async with house.database.transaction(10) as cursor:
        await Tables(TENANT).create(cursor, "words", 64)
    house.parts.now += timedelta(hours=1)
    await ports.driver.reconcile()
    assert ((await record_of(ports, purge_id)).step, await size(house)) == ("certified", None)


async def test_a_fill_that_has_begun_ends_before_the_drop_and_none_begins_after_the_fence(
    house: SearchedIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await index_of(house, 3)
    open_store, opened, go_on = house.parts.tenancy.store, asyncio.Event(), asyncio.Event()

    async def slowly(tenant: TenantId) -> TenantStore:
        store = await open_store(tenant)
        opened.set()
        await go_on.wait()
        return store

    made = replace(filling(house), open_store=slowly)
    fill = asyncio.create_task(made.fill(TENANT, index.embedder.name, index.embedder.dimensions))
    await opened.wait()
    purge = asyncio.create_task(purging(house, house.database))
    await asyncio.sleep(0.2)
    assert not purge.done(), "it waits for the transaction that may still write"
    go_on.set()
    with pytest.raises((TenantFenced, KeyDestroyed, Refused)):
        await fill
    ports, purge_id = await purge
    house.parts.now += timedelta(hours=1)
    await ports.driver.reconcile()
    assert ((await record_of(ports, purge_id)).step, await size(house)) == ("certified", None)


@pytest.mark.parametrize("given", ["none", "one that does not answer"])
async def test_a_purge_that_cannot_look_into_the_database_certifies_nothing(house: SearchedIndexes, given: str) -> None:
    index = await house.index()
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    await house.search("apixaban")
    async with Database(NOWHERE, wait_seconds=0.2) as unreachable:
        ports, purge_id = await purging(house, None if given == "none" else unreachable)
    record = await record_of(ports, purge_id)
    assert record.step != "certified"
    code = "no-knowledge-database" if given == "none" else "out-of-reach"
    assert [(refusal.store, refusal.reason_code) for refusal in record.refusals] == [(STORE, code)]
    again = purge_ports(house.parts, database=house.database)
    await again.driver.reconcile()
    assert ((await record_of(again, purge_id)).step, await size(house)) == ("certified", None)


async def test_where_no_database_is_set_a_purge_of_a_tenant_in_memory_needs_none() -> None:
    house = SearchedIndexes(Parts())
    await house.index()
    ports, purge_id = await purging(house, None)
    record = await record_of(ports, purge_id)
    assert record.step == "certified"
    [found] = [one for one in (await certified(house.parts, record)).stores if one.store == STORE]
    assert "where no database is set, none is made" in found.probe
    assert STORES[STORE].purger.method == found.method


async def test_a_replica_forgets_the_key_of_a_fenced_tenant(house: SearchedIndexes) -> None:
    index, fenced = await house.index(), set[TenantId]()

    def require_admitted(tenant: TenantId) -> None:
        if tenant in fenced:
            raise TenantFenced

    assert house.database is not None
    replica = DatabaseSearch(house.parts.tenancy, house.database, require_admitted, patience_seconds=20.0)
    await index.handle(await index.upserted("d1", 1, "Apixaban dose."))
    await house.search("apixaban", by=replica)
    assert list(replica._keys._held) == [TENANT]
    fenced.add(TENANT)
    replica.forget(TENANT)
    with pytest.raises(TenantFenced):
        await house.search("apixaban", by=replica, at=NOW)
    assert replica._keys._held == {}
