"""Invariant 8, fail closed: what cannot be trusted is refused, with a reason, and not lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.bus import events
from schemas.bus.content import ExampleContent, InlineContent
from schemas.bus.envelope import Event, encode
from schemas.bus.outcome import Outcome
from schemas.bus.topics import dead_letter_topic
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from tenancy.errors import Transient
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import (
    NAME,
    OTHER_NAME,
    REFUSED_AFTER_A_PURGE,
    DispatchedWorld,
    event,
    frozen,
    receipt,
    samples,
    service,
)
from tests.world.world import World


async def _no_content(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e70")
    await (await world.outside.store(tenant)).erase(object_keys.content("e70", 1))
    return approval


async def _broken_seal(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e71")
    key = object_keys.tenant_key(tenant, object_keys.content("e71", 1))
    body = bytearray((await world.memory.get(key)).body)
    body[-1] ^= 1
    await world.memory.put(key, bytes(body))
    return approval


async def _other_text(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e72")
    content = approval.content.evolve(commitment="f" * 64)
    return approval.evolve(content=content)


async def _bad_jwe(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e73")
    jwe = InlineContent(jwe=f"{'e' * 40}.{'e' * 8}.{'e' * 8}.{'e' * 8}.{'e' * 8}")
    return approval.evolve(content=approval.content.evolve(reference=jwe))


async def _unreadable_record(world: World, tenant: TenantId) -> events.EventData:
    await (await world.outside.store(tenant)).put(object_keys.example("e74"), b'{"example_id": 1}')
    return events.ExampleRejected(example_id="e74", version=1, reviewer_id="rev-1", reason_code="unclear")


async def _foreign_record(world: World, tenant: TenantId) -> events.EventData:
    other = await world.outside.store(TenantId(OTHER_NAME))
    await other.put_record(
        object_keys.example("e75"),
        ExampleRecord(example_id="e75", version=1, status="approved", decided_at=world.now, event_id="x"),
    )
    stored = await world.memory.get(object_keys.tenant_key(OTHER_NAME, object_keys.example("e75")))
    await world.memory.put(object_keys.tenant_key(tenant, object_keys.example("e75")), stored.body)
    return events.ExampleWithdrawn(example_id="e75", reason_code="patient-request")


def _given(data: events.EventData) -> Callable[[World, TenantId], Awaitable[events.EventData]]:
    async def made(world: World, tenant: TenantId) -> events.EventData:
        return data

    return made


CLOSED: dict[str, tuple[Callable[[World, TenantId], Awaitable[events.EventData]], str, str]] = {
    "content that was not uploaded": (_no_content, "curation", "no-content"),
    "content with a changed byte": (_broken_seal, "curation", "seal-broken"),
    "content that the reviewer did not approve": (_other_text, "curation", "commitment-mismatch"),
    "inline content for nobody": (_bad_jwe, "curation", "seal-broken"),
    "a record that is none": (_unreadable_record, "curation", "seal-broken"),
    "a record of another tenant": (_foreign_record, "curation", "seal-broken"),
    "an adapter that was not published": (
        _given(events.AdapterReady(adapter_digest="f" * 64, run_id="r", base_model_digest="b" * 64, size_bytes=1)),
        "adapters",
        "unknown-adapter",
    ),
    "an export of what is not there": (
        _given(events.ExportRequested(export_id="x7", adapter_digest="f" * 64, requested_by="op")),
        "export",
        "unknown-adapter",
    ),
    "a receipt that nobody signed": (
        _given(events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt={})),
        "purge",
        "bad-signature",
    ),
}


def _assert_buried(world: World, made: Event, code: str) -> None:
    """The message lies in its dead-letter topic as it came, with the reason."""
    letter, message = world.bus.dead[-1], encode(made)
    assert letter.topic == dead_letter_topic(made.topic)
    assert (letter.key, letter.value) == (message.key, message.value)
    assert list(letter.headers[: len(message.headers)]) == list(message.headers)
    assert dict(letter.headers)["dlq_reason"] == code.encode()


@pytest.mark.parametrize("what", CLOSED)
async def test_fail_closed_what_cannot_be_trusted_is_refused_for_a_reason_and_not_lost(
    dispatched: DispatchedWorld, what: str
) -> None:
    make, name, code = CLOSED[what]
    tenant = TenantId(NAME)
    made = event(tenant, await make(dispatched, tenant), dispatched)
    before = frozen(dispatched)
    assert await dispatched.handle(service(dispatched, name), made) is Outcome.DEAD_LETTERED
    _assert_buried(dispatched, made, code)
    noted = {object_keys.tenant_key(tenant, object_keys.export_decision("x7"))}  # that this is refused, and stays so
    after = frozen(dispatched)
    assert {key: after[key] for key in after.keys() - noted} == before
    assert bool(after.keys() & noted) == (name == "export")
    recorded = dispatched.bus.topics[events.OUTCOMES][-1].data
    assert isinstance(recorded, events.OutcomeRecorded)
    assert (recorded.event_id, recorded.outcome) == (made.id, Outcome.DEAD_LETTERED)


async def test_fail_closed_an_unknown_tenant_gets_nothing_by_any_event(dispatched: DispatchedWorld) -> None:
    stranger = TenantId("stranger")
    approval = (await dispatched.approval(TenantId(NAME), "e80")).model_copy()
    before = frozen(dispatched)
    for data in samples(dispatched, stranger, "f" * 64, approval):
        made = event(stranger, data, dispatched)
        for found in dispatched.services:
            dispatched.bus.dead.clear()
            if found.name == "ledger" and isinstance(data, events.TenantOnboarded):
                with pytest.raises(Transient):  # the state may be about to be made; in the end it is dead-lettered
                    await dispatched.handle(found, made)
                continue
            outcome = await dispatched.handle(found, made)
            assert outcome in (None, Outcome.DEAD_LETTERED, Outcome.NOOP_DUPLICATE, Outcome.NOOP_STALE), data.type
            if outcome is Outcome.DEAD_LETTERED:
                _assert_buried(dispatched, made, "unknown-tenant")
            elif outcome is not None and found.name not in ("ledger", "inference"):  # these only follow what is decided
                assert data.type not in REFUSED_AFTER_A_PURGE
    assert frozen(dispatched) == before


async def test_fail_closed_an_event_of_an_unknown_tenant_is_one_dead_letter_whoever_reads_it(
    dispatched: DispatchedWorld,
) -> None:
    stranger = TenantId("stranger")
    made = samples(dispatched, stranger, "f" * 64, await dispatched.approval(TenantId(NAME), "e80"))
    retired = receipt(dispatched, stranger, cause="f" * 64)
    made.append(events.ReplicaEvicted(replica_id="replica-0", cause_id="f" * 64, receipt=retired))
    kept_by: dict[str, set[str]] = {}
    for data in made:
        if isinstance(data, events.TenantOnboarded | events.OutcomeRecorded):
            continue  # the one waits for its tenant, the other says what another letter says
        dispatched.bus.dead.clear()
        outcomes = {
            found.name: await dispatched.handle(found, event(stranger, data, dispatched))
            for found in dispatched.services
        }
        buriers = [name for name, outcome in outcomes.items() if outcome is Outcome.DEAD_LETTERED]
        assert len(buriers) == len(dispatched.bus.dead) == 1, (data.type, outcomes)
        assert outcomes["ledger"] in (Outcome.NOOP_STALE, Outcome.DEAD_LETTERED), data.type
        kept_by.setdefault(buriers[0], set()).add(data.type)
    assert kept_by.keys() == {"curation", "training", "adapters", "export", "knowledge", "purge", "ledger"}


async def test_fail_closed_a_letter_of_an_unknown_tenant_that_is_redriven_is_entered_into_the_audit_log(
    dispatched: DispatchedWorld,
) -> None:
    early = TenantId("early")
    made = event(early, events.ConsentGranted(consent_id="consent-1", version=1), dispatched)
    for name in ("ledger", "curation"):
        await dispatched.handle(service(dispatched, name), made)
    await dispatched.onboard(early)
    for name in ("ledger", "curation"):
        assert await dispatched.handle(service(dispatched, name), made) is Outcome.EFFECT
    entries = entries_of(await read_copy(dispatched.outside, early))
    assert [entry.kind for entry in entries] == ["consent.granted"]


async def test_fail_closed_without_its_key_nothing_is_done_for_a_tenant(dispatched: DispatchedWorld) -> None:
    tenant = TenantId(NAME)
    approval = await dispatched.approval(tenant, "e81")
    await dispatched.outside.keys.destroy(tenant)
    before = frozen(dispatched)
    for data in (
        approval,
        events.TrainingRequested(run_id="r9", trigger="operator"),
        events.UsageRecorded(usage_id="u", source="storage"),
    ):
        owner = next(found for found in dispatched.services if type(data) in found.handlers)
        made = event(tenant, data, dispatched)
        assert await dispatched.handle(owner, made) is Outcome.DEAD_LETTERED
        _assert_buried(dispatched, made, "key-missing")
    assert frozen(dispatched) == before


async def test_fail_closed_a_withdrawal_while_the_key_is_missing_takes_effect_when_it_is_sent_again(
    dispatched: DispatchedWorld,
) -> None:
    """The bucket's versioning brings back a key that somebody removed."""
    tenant, curation = TenantId(NAME), service(dispatched, "curation")
    removed = dispatched.memory.objects.pop(object_keys.key_key(tenant))
    withdrawal = event(tenant, events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"), dispatched)
    assert await dispatched.handle(curation, withdrawal) is Outcome.DEAD_LETTERED
    dispatched.memory.objects[object_keys.key_key(tenant)] = removed
    assert await dispatched.handle(curation, withdrawal) is Outcome.EFFECT
    store = await dispatched.outside.store(tenant)
    assert (await store.get_record(object_keys.example("e1"), ExampleRecord))[0].status == "withdrawn"


@pytest.mark.parametrize(
    ("break_it", "reason"), [("text", "commitment-mismatch"), ("seal", "seal-broken"), ("few", "too-few-examples")]
)
async def test_fail_closed_a_training_set_that_is_not_what_was_approved_is_never_trained_on(
    dispatched: DispatchedWorld, break_it: str, reason: str
) -> None:
    world, tenant = dispatched, TenantId(NAME)
    store = await world.outside.store(tenant)
    key = object_keys.content("e1", 1)
    if break_it == "text":
        content, _ = await store.get_record(key, ExampleContent)
        await store.put_record(key, content.evolve(salt="0" * 64))
    elif break_it == "seal":
        await world.memory.put(object_keys.tenant_key(tenant, key), b"SANO1 nothing")
    else:
        await world.publish(tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    active, trained = (await world.state(tenant)).active_adapter, list(world.trainer.trained)
    await world.publish(tenant, events.TrainingRequested(run_id="run-9", trigger="operator"))
    await world.settle()
    run = (await world.state(tenant)).runs["run-9"]
    assert (run.status, run.reason_code) == ("rejected", reason)
    assert world.trainer.trained == trained
    assert (await world.state(tenant)).active_adapter == active, "what was there goes on serving"
    rejected = [
        made.data
        for made in world.bus.topics[events.TRAINING]
        if isinstance(made.data, events.TrainingRejected) and made.data.run_id == "run-9"
    ]
    assert rejected == [events.TrainingRejected(run_id="run-9", reason_code=reason)]
