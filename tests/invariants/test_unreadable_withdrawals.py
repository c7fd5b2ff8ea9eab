"""What does not open counts against the adapter, and what the store does not delete holds up nothing else."""

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
from schemas.objects import object_keys
from tenancy.errors import ObjectNotFound
from tenancy.state import archive
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


async def test_an_adapter_whose_set_does_not_open_counts_as_affected(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, first, active = await two_adapters(world)
    damaged(world, tenant, await set_of(world, tenant, first))
    withdrawal = await withdrawn(world, tenant, "e10")
    assert (await world.state(tenant)).active_adapter not in (None, first, active)
    held = await receipt(world, tenant, withdrawal)
    assert (held.outcome, {one.adapter_digest for one in held.affected}) == ("retired", {first, active})
    assert weights(world, tenant, first) == weights(world, tenant, active) == []


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


async def test_an_archived_adapter_whose_record_does_not_open_holds_up_no_others_retirement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant, first, active = await with_an_archived_one(world, monkeypatch)
    damaged(world, tenant, object_keys.adapter_record(first))
    withdrawal = await withdrawn(world, tenant)
    assert (await world.state(tenant)).active_adapter is None
    affected = {one.adapter_digest for one in (await receipt(world, tenant, withdrawal)).affected}
    assert active in affected and first not in affected


@pytest.mark.parametrize("is_mended", [True, False])
async def test_no_receipt_says_that_nothing_was_affected_while_an_adapters_record_does_not_open(
    is_mended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant, first, _ = await with_an_archived_one(world, monkeypatch)
    mend = damaged(world, tenant, object_keys.adapter_record(first))
    await world.publish(tenant, await world.approval(tenant, "e99"))
    withdrawal = await withdrawn(world, tenant, "e99")
    with pytest.raises(ObjectNotFound):
        await receipt(world, tenant, withdrawal)
    if is_mended:
        mend()
    else:
        await (await world.outside.store(tenant)).erase(object_keys.adapter_record(first))
    await world.settle()
    assert (await receipt(world, tenant, withdrawal)).outcome == "not-affected"


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
