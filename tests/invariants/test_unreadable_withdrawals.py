"""One object that does not open, or that the store does not delete, keeps no adapter active past its deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.curation.handlers import on_example_rejected
from producers.commands import legal_holds
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import WITHDRAWAL_PREDICATE, statement
from schemas.objects import object_keys
from schemas.objects.withdrawals import WithdrawalReceipt, withdrawal_subject
from tenancy.errors import ObjectNotFound, StoreUnavailable
from tenancy.evidence.withdrawal_receipt import checked_withdrawal
from tenancy.state import archive
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tests.invariants.test_withdrawals import policy, receipt, taught, trained, weights, withdrawn
from tests.invariants.worlds import event
from tests.world.purging import LockingObjectStore
from tests.world.world import QUIESCE_SECONDS, World

DEADLINE = timedelta(days=31)


def damaged(world: World, tenant: TenantId, relative: str) -> Callable[[], None]:
    """Flip one bit of a sealed object; what is returned mends it."""
    versions = world.memory.objects[object_keys.tenant_key(tenant, relative)]
    whole = versions[-1]
    assert whole.body is not None
    versions[-1] = replace(whole, body=whole.body[:-1] + bytes([whole.body[-1] ^ 1]))

    def mend() -> None:
        versions[-1] = whole

    return mend


async def set_of(world: World, tenant: TenantId, digest: str) -> str:
    return object_keys.training_set((await world.state(tenant)).adapters[digest].training_set_id)


async def statuses(world: World, tenant: TenantId) -> dict[str, str]:
    return {digest: adapter.status for digest, adapter in (await world.state(tenant)).adapters.items()}


async def two_adapters(world: World, action: str = "retrain", **changes: Any) -> tuple[TenantId, str, str]:
    """An earlier adapter, with e0 to e3, and the active one, with e10 to e13 too."""
    tenant, first = await trained(world, policy(action, **changes))
    await taught(world, tenant, 10)
    active = await world.served(tenant)
    assert active != first
    return tenant, first, active


async def with_an_archived_one(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[TenantId, str, str]:
    """An adapter that moved out of the state, with e0 to e3, and the active one, with all that came later too."""
    monkeypatch.setattr(archive, "KEPT_ADAPTERS", 1)
    tenant, first, _ = await two_adapters(world, "stop")
    for number in (20, 30):
        await taught(world, tenant, number)
    active = await world.served(tenant)
    assert first not in await statuses(world, tenant), "it is archived"
    return tenant, first, active


async def turns(world: World) -> None:
    """Enough turns of everybody; a world whose store refuses a deletion tries again for ever."""
    for _ in range(20):
        await world.step()
        world.now += timedelta(seconds=QUIESCE_SECONDS)


async def withdrawn_meanwhile(world: World, tenant: TenantId, example_id: str) -> str:
    made = await world.publish(tenant, events.ExampleWithdrawn(example_id=example_id, reason_code="patient-request"))
    await turns(world)
    return made.id


def said(held: WithdrawalReceipt) -> dict[str, bool]:
    """Each affected adapter, and whether the receipt says that its set was not read."""
    return {one.adapter_digest: one.is_set_unread for one in held.affected}


async def test_an_adapter_whose_set_does_not_open_counts_as_affected_and_the_receipt_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, first, active = await two_adapters(world)
    damaged(world, tenant, await set_of(world, tenant, first))
    withdrawal = await withdrawn(world, tenant, "e10")
    assert (await world.state(tenant)).active_adapter not in (None, first, active)
    held = await receipt(world, tenant, withdrawal)
    assert (held.outcome, said(held)) == ("retired", {first: True, active: False})
    assert weights(world, tenant, first) == weights(world, tenant, active) == []
    verdict = checked_withdrawal(
        tmp_path, statement(WITHDRAWAL_PREDICATE, withdrawal_subject(held.withdrawal_id), held)
    )
    assert verdict.facts["training sets not read"] == first
    assert any("could not read" in line for line in verdict.does_not_prove)


async def test_what_may_contain_the_example_is_replaced_or_goes_at_the_deadline_unless_its_set_is_mended(
    tmp_path: Path,
) -> None:
    for is_mended in (False, True):
        world = World(tmp_path / str(is_mended))
        tenant, first, active = await two_adapters(world)
        mend = damaged(world, tenant, await set_of(world, tenant, first))
        await world.publish(tenant, await world.approval(tenant, "e30"))
        trainings = len(world.trainer.trained)
        withdrawal = await withdrawn(world, tenant, "e30")  # which no adapter contains
        assert await statuses(world, tenant) == {first: "ready", active: "ready"}
        assert len(world.trainer.trained) == trainings, "the adapter that answers is not concerned"
        with pytest.raises(ObjectNotFound):
            await receipt(world, tenant, withdrawal)
        if is_mended:
            mend()
            await world.settle()
            assert (await receipt(world, tenant, withdrawal)).outcome == "not-affected"
        world.now += DEADLINE
        await world.settle()
        assert await statuses(world, tenant) == {first: "ready" if is_mended else "retired", active: "ready"}
        held = await receipt(world, tenant, withdrawal)
        assert said(held) == ({} if is_mended else {first: True})


async def test_an_active_adapter_whose_set_does_not_open_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, first, active = await two_adapters(world)
    damaged(world, tenant, await set_of(world, tenant, active))
    withdrawal = await withdrawn(world, tenant, "e10")
    assert (await world.state(tenant)).active_adapter not in (None, first, active)
    assert (await statuses(world, tenant))[active] == "ready", "until the deadline its set may be mended"
    world.now += DEADLINE
    await world.settle()
    assert (await statuses(world, tenant))[active] == "retired"
    assert said(await receipt(world, tenant, withdrawal)) == {active: True}


class Failing:
    """A store that does not answer for one object."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        self.is_failing = True
        get = MemoryObjectStore.get

        async def failing(store: MemoryObjectStore, wanted: str) -> StoredObject:
            if wanted == key and self.is_failing:
                raise StoreUnavailable("503")
            return await get(store, wanted)

        monkeypatch.setattr(MemoryObjectStore, "get", failing)


@pytest.mark.parametrize("is_passing", [True, False])
async def test_a_set_that_cannot_be_read_for_a_while_holds_up_no_other_adapter_and_counts_at_the_deadline(
    is_passing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant, first, active = await two_adapters(world, "stop")
    failing = Failing(monkeypatch, object_keys.tenant_key(tenant, await set_of(world, tenant, first)))
    withdrawal = await withdrawn(world, tenant, "e10")
    assert await statuses(world, tenant) == {first: "ready", active: "retired"}
    assert [key for key in weights(world, tenant, active) if f"/{active}/" in key] == []
    with pytest.raises(ObjectNotFound):
        await receipt(world, tenant, withdrawal)
    failing.is_failing = not is_passing
    world.now += DEADLINE
    await world.settle()
    assert await statuses(world, tenant) == {first: "ready" if is_passing else "retired", active: "retired"}
    held = await receipt(world, tenant, withdrawal)
    assert said(held) == ({active: False} if is_passing else {first: True, active: False})
    assert held.undetermined == ()


async def test_an_archived_adapter_that_cannot_be_read_for_a_while_is_retired_once_it_is_and_before_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant, first, active = await with_an_archived_one(world, monkeypatch)
    failing = Failing(monkeypatch, object_keys.tenant_key(tenant, object_keys.adapter_record(first)))
    withdrawal = await withdrawn(world, tenant)
    world.now += DEADLINE
    await world.settle()
    assert (await statuses(world, tenant))[active] == "retired"
    with pytest.raises(ObjectNotFound):
        await receipt(world, tenant, withdrawal)
    failing.is_failing = False
    await world.settle()
    held = await receipt(world, tenant, withdrawal)
    assert (first in said(held), held.undetermined, weights(world, tenant, first)) == (True, (), [])


async def test_an_archived_adapter_whose_record_does_not_open_holds_up_nothing_and_is_named_as_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant, first, active = await with_an_archived_one(world, monkeypatch)
    damaged(world, tenant, object_keys.adapter_record(first))
    withdrawal = await withdrawn(world, tenant, "e30")
    assert (await statuses(world, tenant))[active] == "retired"
    held = await receipt(world, tenant, withdrawal)
    assert (said(held), held.undetermined) == ({active: False}, (first,))
    await world.publish(tenant, await world.approval(tenant, "e40"))
    unused = await withdrawn(world, tenant, "e40")
    with pytest.raises(ObjectNotFound):
        await receipt(world, tenant, unused)  # until the deadline it may be mended
    world.now += DEADLINE
    await world.settle()
    held = await receipt(world, tenant, unused)
    assert (held.outcome, held.undetermined) == ("not-affected", (first,))


async def test_an_affected_adapter_whose_record_is_damaged_while_it_waits_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "KEPT_ADAPTERS", 1)
    world = World(tmp_path)
    tenant, first = await trained(world, policy("retrain"))
    for number in (10, 20):
        await taught(world, tenant, number)
    await world.outside.states.swap(
        tenant, lambda state: state.evolve(policy=policy("retrain", min_training_examples=100))
    )
    active = await world.served(tenant)
    assert first not in await statuses(world, tenant), "it is archived"
    withdrawal = await withdrawn(world, tenant)
    assert (await world.state(tenant)).active_adapter == active, "there was too little to train again"
    damaged(world, tenant, object_keys.adapter_record(first))
    world.now += DEADLINE
    await world.settle()
    assert (await statuses(world, tenant))[active] == "retired"
    held = await receipt(world, tenant, withdrawal)
    assert held.undetermined == (first,) and first not in said(held) and active in said(held)


async def test_a_withdrawal_whose_record_does_not_open_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=4))
    lost = await withdrawn(world, tenant)
    damaged(world, tenant, object_keys.open_withdrawal(lost))
    other = await withdrawn(world, tenant, "e1")
    world.now += DEADLINE
    await world.settle()
    assert (await statuses(world, tenant))[old] == "retired"
    assert (await receipt(world, tenant, other)).outcome == "retired"
    [line] = {vars(line)["withdrawal_id"] for line in caplog.records if line.message == "withdrawal not read"}
    assert line == lost


async def test_a_consent_whose_record_does_not_open_was_not_granted_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=4))
    revoked = await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=2))
    await world.settle()
    damaged(world, tenant, object_keys.consent("consent-2"))
    world.now += DEADLINE
    await world.settle()
    assert (await statuses(world, tenant))[old] == "retired"
    assert (await receipt(world, tenant, revoked.id)).outcome == "retired"


async def test_a_text_that_the_store_does_not_delete_is_owed_and_holds_up_no_withdrawal_and_no_other_text(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant, _ = await trained(world, policy("stop"))
    for name in ("locked", "other"):
        await world.publish(tenant, await world.approval(tenant, name))
    await world.settle()
    store = LockingObjectStore.instead_of(world.memory)
    text = object_keys.tenant_key(tenant, object_keys.content("locked", 1))
    store.locked = {text}
    rejected = events.ExampleRejected(example_id="locked", version=1, reviewer_id="rev-1", reason_code="unclear")
    assert await on_example_rejected(event(tenant, rejected, world), world.outside) is Outcome.EFFECT
    assert (await world.state(tenant)).text_erasures == ("locked",)
    withdrawal = await withdrawn_meanwhile(world, tenant, "e0")
    assert (await receipt(world, tenant, withdrawal)).outcome == "retired"
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await withdrawn_meanwhile(world, tenant, "other")
    kept = object_keys.tenant_key(tenant, object_keys.kept_text("other", 1))
    assert kept in world.memory.objects
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await turns(world)
    assert kept not in world.memory.objects and text in world.memory.objects
    store.locked = set()
    await world.settle()
    assert text not in world.memory.objects
    state = await world.state(tenant)
    assert (state.text_erasures, state.texts_kept) == ((), 0)


async def test_a_text_that_a_hold_kept_and_the_store_does_not_delete_is_owed_and_no_other_waits_for_it(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant, _ = await trained(world, policy("flag"))
    store = LockingObjectStore.instead_of(world.memory)
    store.locked = {object_keys.tenant_key(tenant, object_keys.content("e0", 1))}
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    for name in ("e0", "e1"):
        await withdrawn(world, tenant, name)
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await turns(world)
    state = await world.state(tenant)
    assert (state.text_erasures, state.texts_kept) == (("e0",), 0)
    kept = [key for key in world.memory.objects if "/kept-texts/" in key]
    assert kept == []
    store.locked = set()
    await world.settle()
    assert (await world.state(tenant)).text_erasures == ()


@pytest.mark.parametrize("example_id", ["e10", "e11", "e12", "e13"])  # whose ids are before the other's, or behind
async def test_weights_that_the_store_does_not_delete_hold_up_no_other_withdrawal(
    example_id: str, tmp_path: Path
) -> None:
    world = World(tmp_path)
    tenant, first, active = await two_adapters(world, "stop")
    store = LockingObjectStore.instead_of(world.memory)
    store.locked = {object_keys.tenant_key(tenant, object_keys.adapter(active, object_keys.ADAPTER_WEIGHTS))}
    stuck = await withdrawn_meanwhile(world, tenant, example_id)
    assert active in (await world.state(tenant)).erasures
    await withdrawn_meanwhile(world, tenant, "e0")
    assert await statuses(world, tenant) == {first: "retired", active: "retired"}
    store.locked = set()
    await world.settle()
    assert (await receipt(world, tenant, stuck)).outcome == "retired"
    assert weights(world, tenant, first) == weights(world, tenant, active) == []


async def test_a_withdrawal_whose_record_is_damaged_begins_anew_when_it_is_deleted_and_the_event_comes_again(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant, _, active = await two_adapters(world, "stop")
    made = await world.publish(tenant, events.ExampleWithdrawn(example_id="e10", reason_code="patient-request"))
    while await world.deliver():
        pass
    noted = object_keys.open_withdrawal(made.id)
    damaged(world, tenant, noted)
    await turns(world)
    assert (await statuses(world, tenant))[active] == "ready"
    await (await world.outside.store(tenant)).erase(noted)
    await world.bus.publish(made)
    await turns(world)
    assert (await statuses(world, tenant))[active] == "retired"
    assert (await receipt(world, tenant, made.id)).outcome == "retired"
