"""An audit log of which an object was written over: it is said, and no deletion waits for it; a training does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.ledger.keeper import SURVIVAL
from producers.commands import legal_holds
from producers.commands.audited import NotAudited
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.bus import events
from schemas.bus.envelope import event_id
from schemas.bus.outcome import Outcome
from schemas.evidence.audit import AuditHead
from schemas.objects import object_keys
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import Hint
from tenancy.audit.verification import verify_copy
from tenancy.errors import AuditBroken
from tenancy.state.legal_holds import open_holds
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.examples import is_exploring
from tests.invariants.test_withdrawals import policy, receipt, trained, weights, withdrawn
from tests.invariants.worlds import NAME, DispatchedWorld, assert_purged, event, service
from tests.world.purging import record_of
from tests.world.world import QUIESCE_SECONDS

TENANT = TenantId(NAME)
PURGE = "p1"
GARBAGE = {"{}": b"{}", "text": b"garbage", "bytes": b"\xff\xfe\x00", "nothing": b"", "nested": b"[" * 100_000}

Place = Callable[[AuditHead], str]


def next_entry(head: AuditHead) -> str:
    return object_keys.audit_entry(TENANT, head.seq + 1)


def next_checkpoint(head: AuditHead) -> str:
    return object_keys.audit_checkpoint(TENANT, number_of_last(head) + 1)


def last_checkpoint(head: AuditHead) -> str:
    return object_keys.audit_checkpoint(TENANT, number_of_last(head))


def claim_of_a_step(_: AuditHead) -> str:
    return object_keys.audit_claim(TENANT, event_id("purge.step", TENANT, f"{PURGE}|shredded"))


def head_itself(_: AuditHead) -> str:
    return object_keys.audit_head(TENANT)


PLACES = (next_entry, claim_of_a_step, next_checkpoint, last_checkpoint, head_itself)
DAMAGES = [
    pytest.param(place, body, id=f"{place.__name__}-{kind}")
    for at, place in enumerate(PLACES)
    for number, (kind, body) in enumerate(GARBAGE.items())
    if is_exploring() or number in (at, (at + 1) % len(GARBAGE))
]
"""Each place with two of the kinds, and each kind at two places; in ``make explore`` with all."""


def number_of_last(head: AuditHead) -> int:
    assert head.checkpoint is not None
    return head.checkpoint.number


async def damaged(world: DispatchedWorld, place: Place, body: bytes) -> str:
    """Write over an object of the log, or where the next one will be; returns its key."""
    head = await world.outside.audit.head(TENANT)
    assert head is not None
    await world.memory.put(place(head), body)
    return place(head)


async def purged(world: DispatchedWorld) -> None:
    """Until the purge is over. The world itself does not come to rest: whoever signs tries again at each look."""
    for _ in range(60):
        await world.step()
        world.now += timedelta(seconds=QUIESCE_SECONDS / 10)
        state = await world.state(TENANT)
        if state.status == "purged" and not state.outbox:
            break
    for _ in range(5):  # the ledger is last
        await world.step()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], dict[str, str]]:
    """The errors in the services' logs: each message with its reason."""
    caplog.set_level(logging.ERROR)

    def told() -> dict[str, str]:
        return {record.message: getattr(record, "reason", "") for record in caplog.records}

    return told


@pytest.mark.spread
@pytest.mark.parametrize(("place", "body"), DAMAGES)
async def test_a_purge_does_not_wait_for_its_log(
    dispatched: DispatchedWorld, place: Place, body: bytes, said: Callable[[], dict[str, str]]
) -> None:
    await damaged(dispatched, place, body)
    requested = events.PurgeRequested(purge_id=PURGE, reason_code="churned", requested_by="op")
    await dispatched.publish(TENANT, requested)
    await purged(dispatched)
    await assert_purged(dispatched, TENANT)
    assert (await record_of(dispatched, TENANT)).warnings == ()
    if place is claim_of_a_step:
        assert said()["purge step not audited"] == "audit-broken"
    if place is next_entry:
        assert said()["purge not signed in the audit log"] == "audit-broken"
        letters = {dict(letter.headers)["dlq_reason"] for letter in dispatched.bus.dead}
        assert letters == {b"audit-broken"}, "each event that could not be entered is kept, and says why"
    else:
        assert dispatched.bus.dead == [], "an event that was entered is no dead letter because nothing could be signed"
    if place is next_checkpoint:
        assert said()["audit log not signed"] == "audit-broken"


async def test_an_event_that_cannot_be_entered_is_kept_and_entered_after_the_repair(
    dispatched: DispatchedWorld,
) -> None:
    key = await damaged(dispatched, next_entry, b"garbage")
    made = event(TENANT, events.ConsentGranted(consent_id="consent-7", version=1), dispatched)
    ledger = service(dispatched, "ledger")
    assert await dispatched.handle(ledger, made) is Outcome.DEAD_LETTERED
    assert "audit-broken" in dispatched.errors[-1]
    del dispatched.memory.objects[key]
    assert await dispatched.handle(ledger, made) is Outcome.EFFECT
    assert verify_copy(await read_copy(dispatched.outside, TENANT), dispatched.keys.trust).problems == ()


async def test_a_training_does_not_begin_and_its_run_says_why(dispatched: DispatchedWorld) -> None:
    await damaged(dispatched, next_entry, b"garbage")
    before = set((await dispatched.state(TENANT)).adapters)
    await dispatched.publish(TENANT, events.TrainingRequested(run_id="r9", trigger="operator", requested_by="op"))
    await dispatched.settle()
    assert set((await dispatched.state(TENANT)).adapters) == before
    said = [made.data for made in dispatched.bus.topics[events.TRAINING]]
    rejected = [data for data in said if isinstance(data, events.TrainingRejected)]
    assert [(data.run_id, data.reason_code) for data in rejected] == [("r9", "audit-broken")]


async def test_a_withdrawal_is_closed_with_a_receipt_once_its_adapters_are_erased(
    tmp_path: Path, said: Callable[[], dict[str, str]]
) -> None:
    world = DispatchedWorld(tmp_path)
    tenant, adapter = await trained(world, policy("stop"))
    head = await world.outside.audit.head(tenant)
    assert head is not None
    await world.memory.put(object_keys.audit_entry(tenant, head.seq + 1), b"garbage")
    withdrawal = await withdrawn(world, tenant)
    assert weights(world, tenant, adapter) == []
    assert (await receipt(world, tenant, withdrawal)).outcome == "retired"
    store = await world.outside.store(tenant)
    assert await store.exists(object_keys.closed_withdrawal(withdrawal))
    assert not await store.exists(object_keys.open_withdrawal(withdrawal))
    assert {"erasure not audited", "withdrawal not audited"} <= said().keys()


async def test_a_hold_is_in_force_and_its_operator_is_told_that_it_is_not_entered(
    dispatched: DispatchedWorld,
) -> None:
    key = await damaged(dispatched, next_entry, b"garbage")

    async def place() -> None:
        await legal_holds.place(dispatched.outside, TENANT, reason_code="litigation", placed_by="op", hold_id="h1")

    with pytest.raises(
        NotAudited, match=r"h1 is placed, but .* entry \d+ is missing or was not written by this system"
    ):
        await place()
    assert [hold.hold_id for hold in open_holds(await dispatched.state(TENANT))] == ["h1"]
    with pytest.raises(NotAudited, match="h1 is released"):
        await legal_holds.release(dispatched.outside, TENANT, "h1", released_by="op")
    assert open_holds(await dispatched.state(TENANT)) == ()
    del dispatched.memory.objects[key]
    await legal_holds.release(dispatched.outside, TENANT, "h1", released_by="op")
    log = entries_of(await read_copy(dispatched.outside, TENANT))
    assert [entry.kind for entry in log if entry.kind.startswith("hold.")] == ["hold.released"]


@pytest.mark.parametrize("place", [next_entry, next_checkpoint])
async def test_claims_are_forgotten_although_the_log_cannot_be_signed(
    dispatched: DispatchedWorld, place: Place, said: Callable[[], dict[str, str]]
) -> None:
    await dispatched.publish(TENANT, events.TenantChurned(requested_by="op"))
    await dispatched.settle()
    await damaged(dispatched, place, b"garbage")
    if place is next_checkpoint:  # then there must be something to sign
        late = events.ConsentGranted(consent_id="consent-8", version=1)
        await dispatched.handle(service(dispatched, "ledger"), event(TENANT, late, dispatched))
    dispatched.now += SURVIVAL + timedelta(seconds=1)
    await dispatched.keeper.reconcile()
    assert said()["audit log not signed"] == "audit-broken"
    await dispatched.keeper.sweep()
    assert not [key for key in dispatched.memory.objects if key.startswith(object_keys.audit_claims_prefix(TENANT))]


async def test_what_the_ledger_could_not_sign_at_the_purges_end_the_keeper_signs(dispatched: DispatchedWorld) -> None:
    """Nothing comes after the last event of a purge, so nobody else would."""
    ledger, stranger = service(dispatched, "ledger"), AllKeys.made()
    signing, keeper = ledger.ports, dispatched.keeper

    class Unable(Checkpointer):
        async def seal(self, tenant: TenantId, hint: Hint | None = None) -> None:
            raise AuditBroken("a checkpoint")

    unable = Unable(signing.checkpointer.log, stranger)
    ledger.ports = replace(signing, checkpointer=unable)
    dispatched.keeper = replace(keeper, checkpointer=unable)
    await dispatched.publish(TENANT, events.TenantChurned(requested_by="op"))
    await dispatched.settle()
    await assert_purged(dispatched, TENANT)
    trusted = dispatched.keys.trust
    dispatched.now += timedelta(hours=1)
    copy = await read_copy(dispatched.outside, TENANT)
    completed = next(entry.seq for entry in entries_of(copy) if entry.kind == "purge.completed")
    verdict = verify_copy(copy, trusted)
    assert verdict.signed_entries < completed
    assert verdict.verdict == "UNSIGNED"

    await keeper.reconcile()
    copy = await read_copy(dispatched.outside, TENANT)
    verdict = verify_copy(copy, trusted)
    assert (verdict.verdict, verdict.signed_entries) == ("holds", len(copy.entries))
    assert verdict.signed_entries >= completed
