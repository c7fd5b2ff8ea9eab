"""The one copy of acknowledgement and retry: what becomes of a record, and how long patience with it lasts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import pytest

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.liveness import Progress
from consumers.runtime.poison import REFUSED_US
from consumers.runtime.redeliveries import Redeliveries
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects.state import TenantState
from tenancy.bus import RecordingPublisher
from tenancy.errors import (
    BusUnavailable,
    KeyDestroyed,
    Outage,
    Refused,
    SealBroken,
    StoreUnavailable,
    TenantFenced,
    Transient,
)
from tenancy.storage.keys import KeyRing
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.unit.runtime_parts import (
    POLICY,
    PURGE,
    TELEMETRY,
    AwayMasterKey,
    NoOutcomes,
    OutOfReach,
    Raising,
    Result,
    SilentPublisher,
    a_record,
    a_tenancy,
    again_and_again,
    delivered,
)

TENANT = TenantId("t1")


async def test_an_effect_is_told_and_acknowledged() -> None:
    result = await delivered(Raising([]), a_record())
    assert result == Result(True, [], [Outcome.EFFECT])


async def test_each_replicas_outcome_of_an_event_is_one_of_its_own() -> None:
    """An event that three replicas acknowledge has three outcomes, which the ids tell apart."""
    bus, record = RecordingPublisher(), a_record()
    for replica in ("r1", "r2", "r3"):
        await delivered(Raising([]), record, bus, service="inference", replica=replica)
    told = {event.id: event.data.consumer for event in bus.events if isinstance(event.data, events.OutcomeRecorded)}
    assert sorted(told.values()) == ["inference.r1", "inference.r2", "inference.r3"]


async def test_what_is_transient_is_tried_again_in_place() -> None:
    handler = Raising([StoreUnavailable("x"), BusUnavailable("y")])
    result = await delivered(handler, a_record())
    assert (handler.calls, result.outcomes) == (3, [Outcome.EFFECT])


async def test_what_stays_transient_comes_again() -> None:
    handler = Raising([StoreUnavailable("x") for _ in range(9)])
    result = await delivered(handler, a_record())
    assert handler.calls == POLICY.attempts
    assert result == Result(False, [], [])


async def test_an_event_that_fails_again_and_again_while_everything_answers_is_dead_lettered_after_a_bound() -> None:
    objects = MemoryObjectStore()
    results = await again_and_again(a_record(), Transient("the record changed"), POLICY.deliveries, objects=objects)
    assert [result.acknowledged for result in results] == [False, False, True]
    assert results[-1].outcomes == [Outcome.DEAD_LETTERED]
    assert dict(results[-1].letters[0].headers)["dlq_reason"] == b"keeps-failing"
    assert objects.objects == {}, "asking whether the store answers wrote nothing"


@pytest.mark.parametrize(
    "parts",
    [
        {"objects": OutOfReach(reads=False, writes=True)},
        {"objects": OutOfReach(reads=True, writes=False)},
        {"publisher": SilentPublisher()},
    ],
    ids=["no reads", "no writes", "no acknowledgement"],
)
@pytest.mark.parametrize("data", [None, PURGE])
async def test_an_outage_dead_letters_nothing_however_long(parts: Any, data: Any) -> None:
    results = await again_and_again(a_record(data), StoreUnavailable("x"), 20, **parts)
    assert {(result.acknowledged, len(result.letters)) for result in results} == {(False, 0)}


async def test_an_outage_that_the_error_itself_names_dead_letters_nothing_however_well_the_rest_answers() -> None:
    """As of a database of indexes: a removal that did not reach it is no event that may be passed over."""
    results = await again_and_again(a_record(), Outage("the database did not answer"), 20)
    assert {(result.acknowledged, len(result.letters)) for result in results} == {(False, 0)}


async def test_an_outage_of_the_master_key_dead_letters_nothing_and_once_it_answers_failures_count() -> None:
    tenancy, redeliveries = a_tenancy(RecordingPublisher()), Redeliveries(POLICY.deliveries)
    await tenancy.keys.create(TENANT)
    master = tenancy.keys.master
    tenancy.keys.master = AwayMasterKey()

    async def delivered_and_acknowledged() -> bool:
        async def opens_and_fails(event: Event, ports: Any) -> Outcome:
            await tenancy.keys.open(TENANT)
            raise Transient("x")

        return (await delivered(opens_and_fails, a_record(), redeliveries=redeliveries, tenancy=tenancy)).acknowledged

    assert not any([await delivered_and_acknowledged() for _ in range(20)])
    tenancy.keys.master = master
    assert [await delivered_and_acknowledged() for _ in range(3)] == [False, False, True]


async def test_a_master_key_that_nobody_asked_for_a_while_does_not_stand_for_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What fails without asking it would never be passed over."""
    keys = KeyRing(MemoryObjectStore(), AwayMasterKey())
    with pytest.raises(StoreUnavailable):
        await keys.create(TENANT)
    assert not keys.answers()
    monkeypatch.setattr("tenancy.storage.keys.UNANSWERED_SECONDS", 0.0)
    assert keys.answers()


@pytest.mark.parametrize("error", [SealBroken("x"), Refused("kms-refused", "refused: x")], ids=["seal", "rights"])
async def test_a_master_key_that_refuses_answers(error: Refused) -> None:
    keys = KeyRing(MemoryObjectStore(), AwayMasterKey())
    with pytest.raises(StoreUnavailable):
        await keys.create(TENANT)
    keys.master = AwayMasterKey(error)
    with pytest.raises(type(error)):
        await keys.create(TENANT)
    assert keys.answers()


async def test_after_an_outage_patience_begins_anew() -> None:
    redeliveries = Redeliveries(POLICY.deliveries)
    store = OutOfReach(reads=True, writes=True)
    acknowledged = []
    for answers in (True, True, False, True, True, True):
        store.reads = answers
        handler = Raising([Transient("x")] * POLICY.attempts)
        result = await delivered(handler, a_record(), redeliveries=redeliveries, objects=store)
        acknowledged.append(result.acknowledged)
    assert acknowledged == [False, False, False, False, False, True]


async def test_patience_is_with_one_event_and_not_with_its_partition() -> None:
    redeliveries = Redeliveries(POLICY.deliveries)
    for offset in (1, 1, 2, 2):
        handler = Raising([Transient("x")] * POLICY.attempts)
        assert not (await delivered(handler, a_record(offset=offset), redeliveries=redeliveries)).acknowledged


async def test_a_handler_that_is_too_slow_comes_again() -> None:
    async def slow(event: Event, ports: Any) -> Outcome:
        await asyncio.Event().wait()
        return Outcome.EFFECT

    bus = RecordingPublisher()
    policy = replace(POLICY, deadline_seconds=0.01)
    dispatcher = Dispatcher("curation", {events.ConsentGranted: slow}, a_tenancy(bus), None, TELEMETRY, policy)
    with pytest.raises(Exception, match="longer than"):
        await dispatcher.handle(a_record())


async def test_a_purged_tenant_is_refused_and_the_event_acknowledged() -> None:
    result = await delivered(Raising([TenantFenced()]), a_record())
    assert result == Result(True, [], [Outcome.REFUSED_PURGED])


@pytest.mark.parametrize(
    ("status", "letters"), [("purging", []), ("purged", []), ("active", [b"key-missing"]), (None, [b"unknown-tenant"])]
)
async def test_a_key_is_believed_to_be_destroyed_by_a_purge_only_where_one_fenced(
    status: Literal["active", "purging", "purged"] | None, letters: list[bytes]
) -> None:
    objects = MemoryObjectStore()
    if status is not None:
        state = TenantState(tenant=TENANT, nonce="n", status=status)
        await a_tenancy(RecordingPublisher(), objects).states.create(state)
    results = await again_and_again(a_record(), KeyDestroyed(), POLICY.deliveries, objects=objects)
    if status == "active":
        assert [result.acknowledged for result in results] == [False, False, True], "somebody may bring it back"
    assert [dict(letter.headers)["dlq_reason"] for letter in results[-1].letters] == letters
    assert results[-1].outcomes == [Outcome.DEAD_LETTERED if letters else Outcome.REFUSED_PURGED]


@pytest.mark.parametrize("error", [None, Refused("foreign-claim-check", "x")], ids=["handled", "refused"])
async def test_an_event_whose_outcome_the_bus_refuses_is_no_dead_letter_and_that_is_counted(
    error: Exception | None,
) -> None:
    progress, redeliveries = Progress(60.0, 2 * POLICY.deliveries), Redeliveries(POLICY.deliveries)
    for _ in range(2 * POLICY.deliveries):
        handler = Raising([error] if error else [])
        result = await delivered(handler, a_record(), NoOutcomes(), progress, redeliveries=redeliveries)
        assert result == Result(False, [], [])
    assert not progress.is_alive(), "somebody has to look"


async def test_a_refused_outcome_is_no_judgement_on_its_event() -> None:
    handlers: dict[type[events.EventData], Handler[None]] = {events.ConsentGranted: Raising([])}
    dispatcher = Dispatcher("curation", handlers, a_tenancy(NoOutcomes()), None, TELEMETRY, POLICY)
    with pytest.raises(BusUnavailable, match="the outcome was not accepted"):
        await dispatcher.handle(a_record())


@pytest.mark.parametrize("code", sorted(REFUSED_US))
async def test_what_the_bus_or_the_store_refuses_a_handler_comes_again_and_may_be_put_right(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    progress, refusal = Progress(60.0, 99), Refused(code, "refused: 403")
    results = await again_and_again(a_record(), refusal, POLICY.deliveries, progress=progress)
    assert [result.acknowledged for result in results] == [False, False, True]
    assert [result.outcomes for result in results] == [[], [], [Outcome.DEAD_LETTERED]]
    assert [[dict(letter.headers)["dlq_reason"] for letter in r.letters] for r in results] == [[], [], [code.encode()]]
    assert progress.consecutive_failures == POLICY.deliveries
    assert code in "".join(str(vars(record)) for record in caplog.records if record.message == "will be redelivered")
    redeliveries = Redeliveries(POLICY.deliveries)
    assert not (await delivered(Raising([refusal]), a_record(), redeliveries=redeliveries)).acknowledged
    assert (await delivered(Raising([]), a_record(), redeliveries=redeliveries)).outcomes == [Outcome.EFFECT]


async def test_a_store_that_refuses_everything_dead_letters_nothing() -> None:
    class Forbidden(MemoryObjectStore):
        async def exists(self, key: str) -> bool:
            raise Refused("object-store-refused", "refused: 403")

    refusal = Refused("object-store-refused", "refused: 403")
    results = await again_and_again(a_record(), refusal, 3 * POLICY.deliveries, objects=Forbidden())
    assert {result.acknowledged for result in results} == {False}


async def test_when_everything_fails_the_consumer_stops_instead_of_dead_lettering_all() -> None:
    progress = Progress(60.0, POLICY.consecutive_failures_before_stop)
    results = []
    for _ in range(5):
        handler = Raising([ValueError("bug") for _ in range(9)])
        results.append(await delivered(handler, a_record(), progress=progress))
    assert [result.acknowledged for result in results] == [True, True, True, False, False]
    assert not progress.is_alive()


async def test_the_outcome_of_an_outcome_is_not_told() -> None:
    data = events.OutcomeRecorded(
        event_id="e", event_type="sano.consent.granted", consumer="c", outcome=Outcome.EFFECT, delivery="t/0/0"
    )
    bus = RecordingPublisher()
    handlers: dict[type[events.EventData], Handler[None]] = {events.OutcomeRecorded: Raising([])}
    dispatcher = Dispatcher("ledger", handlers, a_tenancy(bus), None, TELEMETRY, POLICY)
    assert await dispatcher.handle(a_record(data)) == Outcome.EFFECT
    assert bus.events == []
