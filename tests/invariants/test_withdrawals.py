"""A withdrawn example leaves what was trained with it: replaced, evicted everywhere, erased, and signed for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.adapters import retirement
from producers.commands import requests
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.evidence.statements import WITHDRAWAL_PREDICATE
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.objects.training import TrainingSet
from schemas.objects.withdrawals import WithdrawalReceipt, WithdrawalRecord
from schemas.tenant.holds import LegalHold
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import ObjectNotFound
from tenancy.evidence.withdrawal_receipt import checked_withdrawal
from tenancy.state.activation import retired
from tenancy.state.legal_holds import placed, released
from tenancy.tenant_id import TenantId
from tests.world.killed_at_each import SCRATCH, kill_at_each
from tests.world.summary import everything_again, summary
from tests.world.world import World

EXAMPLES = 4


def policy(action: str, **changes: Any) -> TenantPolicy:
    return TenantPolicy.model_validate(
        {"min_new_examples": EXAMPLES, "min_training_examples": 2, "on_withdrawal": action, **changes}
    )


async def trained(world: World, held: TenantPolicy) -> tuple[TenantId, str]:
    """A tenant whose active, loaded adapter was made with e0 to e3; e3 is under a consent of its own."""
    tenant = await world.onboard("t1", held)
    for consent in ("consent-1", "consent-2"):
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    for number in range(EXAMPLES):
        consent = "consent-2" if number == 3 else "consent-1"
        await world.publish(tenant, await world.approval(tenant, f"e{number}", consent=consent))
    await world.settle()
    active = await world.served(tenant)
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    await world.settle()
    return tenant, active


async def withdrawn(world: World, tenant: TenantId, example_id: str = "e0") -> str:
    event = await world.publish(tenant, events.ExampleWithdrawn(example_id=example_id, reason_code="patient-request"))
    await world.settle()
    return event.id


async def receipt(world: World, tenant: TenantId, withdrawal_id: str) -> WithdrawalReceipt:
    store = await world.outside.store(tenant)
    body, _ = await store.get(object_keys.withdrawal_receipt(withdrawal_id))
    signed = world.keys.trust.verify(json.loads(body), WITHDRAWAL_PREDICATE)
    checked_withdrawal(Path("receipt.json"), signed)
    return WithdrawalReceipt.model_validate(signed["predicate"])


async def contained(world: World, tenant: TenantId, state: TenantState, digest: str) -> set[str]:
    store = await world.outside.store(tenant)
    held, _ = await store.get_record(object_keys.training_set(state.adapters[digest].training_set_id), TrainingSet)
    return {entry.example_id for entry in held.entries}


def weights(world: World, tenant: TenantId, digest: str) -> list[str]:
    """The keys under which the adapter's weights lie: published, and in exports that wait to be taken."""
    names = (object_keys.ADAPTER_WEIGHTS, object_keys.ADAPTER_CONFIG)
    prefix = object_keys.tenant_prefix(tenant)
    return [
        key
        for key in world.memory.objects
        if key.endswith(names) and (f"/{digest}/" in key or "/exports/" in key) and key.startswith(prefix)
    ]


async def test_retraining_replaces_the_adapter_which_is_then_gone_from_everywhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain"))
    withdrawal = await withdrawn(world, tenant)
    state = await world.state(tenant)
    new = state.active_adapter
    assert new is not None and new != old
    assert await contained(world, tenant, state, new) == {"e1", "e2", "e3"}
    assert state.adapters[old].status == "retired"
    assert old not in world.engine.names and old not in world.files.held
    assert weights(world, tenant, old) == []
    said = await receipt(world, tenant, withdrawal)
    assert (said.outcome, said.replacement, said.weights_erased) == ("retired", new, True)
    [affected] = said.affected
    assert affected.adapter_digest == old
    assert [(one.replica_id, one.outcome) for one in affected.replicas] == [("replica-0", "evicted")]
    assert affected.replicas_found == ("replica-0",)
    store = await world.outside.store(tenant)
    assert await store.exists(object_keys.adapter(old, object_keys.ADAPTER_MANIFEST)), "what it was made of stays known"


async def test_until_it_is_replaced_the_old_adapter_serves_and_not_one_day_longer_than_agreed(tmp_path: Path) -> None:
    """Too few examples are left to train again: at the deadline the tenant is back to the base model."""
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=EXAMPLES, retrain_within_days=3))
    withdrawal = await withdrawn(world, tenant)
    assert (await world.state(tenant)).active_adapter == old
    store = await world.outside.store(tenant)
    waiting, _ = await store.get_record(object_keys.open_withdrawal(withdrawal), WithdrawalRecord)
    assert waiting.affected == (old,) and waiting.run_id is not None
    world.now = waiting.withdrawn_at + timedelta(days=3)
    await world.settle()
    assert (await world.state(tenant)).active_adapter is None
    said = await receipt(world, tenant, withdrawal)
    assert (said.outcome, said.replacement, weights(world, tenant, old)) == ("retired", None, [])
    assert said.retired_at is not None and said.deadline is not None and said.retired_at >= said.deadline


async def test_an_adapter_that_a_rollback_left_replaces_none_and_another_is_trained(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain"))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e0", version=1, reviewer_id="rev-1", reason_code="unclear")
    )
    await taught(world, tenant, 10)
    left = (await world.state(tenant)).active_adapter
    assert left is not None and "e0" not in await contained(world, tenant, await world.state(tenant), left)
    assert (await requests.rollback(world.outside, tenant)).digest == old
    withdrawal = await withdrawn(world, tenant)
    assert (await world.state(tenant)).active_adapter not in (None, old, left)
    assert (await receipt(world, tenant, withdrawal)).outcome == "retired"


async def test_a_retirement_of_many_adapters_activates_none_of_them_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirement, "KEPT_ADAPTERS", 1)
    world = World(tmp_path)
    tenant, _ = await trained(world, policy("stop"))
    for first in (10, 20, 30):
        await taught(world, tenant, first)
    assert len((await world.state(tenant)).adapters) == 4
    await withdrawn(world, tenant)
    state = await world.state(tenant)
    assert {adapter.status for adapter in state.adapters.values()} == {"retired"}
    returned = [event.data for event in world.bus.topics[events.ADAPTERS] if event.type == "sano.adapter.rolledback"]
    assert [getattr(data, "adapter_digest", "") for data in returned] == [None]


async def taught(world: World, tenant: TenantId, first: int) -> None:
    """One more batch, whose adapter is activated."""
    for number in range(first, first + EXAMPLES):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()


async def test_stopping_takes_the_adapter_away_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    withdrawal = await withdrawn(world, tenant)
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[old].status) == (None, "retired")
    assert old not in world.engine.names and weights(world, tenant, old) == []
    assert (await receipt(world, tenant, withdrawal)).outcome == "retired"


async def test_stopping_returns_to_an_earlier_adapter_that_does_not_contain_the_example(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    await taught(world, tenant, 10)
    assert (await world.state(tenant)).active_adapter != old
    await withdrawn(world, tenant, "e11")
    state = await world.state(tenant)
    assert state.active_adapter == old
    assert [state.adapters[digest].status for digest in state.adapters if digest != old] == ["retired"]


async def test_flagging_lists_the_adapters_and_leaves_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("flag"))
    withdrawal = await withdrawn(world, tenant)
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[old].status) == (old, "ready")
    said = await receipt(world, tenant, withdrawal)
    assert (said.outcome, [one.adapter_digest for one in said.affected]) == ("flagged", [old])
    assert not said.weights_erased and weights(world, tenant, old)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_revoked_consent_counts_for_every_example_under_it(tmp_path: Path, version: int) -> None:
    """Also where it revokes the very version that was granted: whoever revokes may number nothing."""
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain"))
    event = await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=version))
    await world.settle()
    state = await world.state(tenant)
    assert state.active_adapter is not None
    assert await contained(world, tenant, state, state.active_adapter) == {"e0", "e1", "e2"}
    assert state.adapters[old].status == "retired"
    assert (await receipt(world, tenant, event.id)).outcome == "retired"


async def test_a_withdrawal_from_the_future_is_due_as_if_it_came_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=EXAMPLES))
    data = events.ExampleWithdrawn(example_id="e0", reason_code="patient-request")
    await world.bus.publish(Event(subject=tenant, data=data, time=datetime.max.replace(tzinfo=UTC), source="/test"))
    await world.settle()
    assert (await world.state(tenant)).active_adapter == old, "there was too little to train again"
    world.now += timedelta(days=31)
    await world.settle()
    assert (await world.state(tenant)).active_adapter is None


async def test_a_consent_that_is_granted_again_in_time_saves_the_adapter(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=EXAMPLES))
    event = await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=2))
    await world.settle()
    assert (await world.state(tenant)).active_adapter == old, "there was too little to train again"
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-2", version=3))
    await world.settle()
    assert (await world.state(tenant)).adapters[old].status == "ready"
    assert (await receipt(world, tenant, event.id)).outcome == "consent-renewed"


async def test_what_was_never_trained_with_affects_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    await world.publish(tenant, await world.approval(tenant, "e9"))
    withdrawal = await withdrawn(world, tenant, "e9")
    assert (await world.state(tenant)).active_adapter == old
    assert (await receipt(world, tenant, withdrawal)).outcome == "not-affected"


async def test_many_withdrawals_at_once_are_one_retraining(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain"))
    trainings = len(world.trainer.trained)
    ids = [
        (await world.publish(tenant, events.ExampleWithdrawn(example_id=name, reason_code="patient-request"))).id
        for name in ("e0", "e1")
    ]
    await world.settle()
    assert world.trainer.trained[trainings:] == [("e2", "e3")]
    for withdrawal in ids:
        said = await receipt(world, tenant, withdrawal)
        assert (said.outcome, [one.adapter_digest for one in said.affected]) == ("retired", [old])


async def test_a_replica_that_never_answers_is_cut_off_and_then_the_receipt_says_expired(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    record = (await world.memory.get(object_keys.replica_key("replica-0"))).body
    silent = json.loads(record) | {"replica_id": "replica-9", "incarnation": "other"}
    await world.memory.put(object_keys.replica_key("replica-9"), json.dumps(silent).encode())
    withdrawal = await withdrawn(world, tenant)
    for _ in range(10):
        world.now += timedelta(minutes=5)
        await world.settle()
    said = await receipt(world, tenant, withdrawal)
    assert {one.replica_id: one.outcome for one in said.affected[0].replicas} == {
        "replica-0": "evicted",
        "replica-9": "expired",
    }
    assert said.affected[0].replicas_found == ("replica-0", "replica-9")
    fenced = json.loads((await world.memory.get(object_keys.replica_key("replica-9"))).body)
    assert fenced["fenced_at"] is not None
    assert weights(world, tenant, old) == []


async def test_nothing_is_erased_while_a_replica_may_still_serve_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    agent = next(service for service in world.services if service.name == "inference")
    handlers, agent.handlers = agent.handlers, {}  # the replica lives and hears nothing
    withdrawal = await withdrawn(world, tenant)
    assert weights(world, tenant, old), "its replica has not acknowledged"
    with pytest.raises(ObjectNotFound):
        await receipt(world, tenant, withdrawal)
    agent.handlers = handlers
    world.rewind("inference", events.ADAPTERS)
    await world.settle()
    assert weights(world, tenant, old) == []
    assert (await receipt(world, tenant, withdrawal)).affected[0].replicas[0].outcome == "evicted"


async def test_a_legal_hold_keeps_the_weights_that_nobody_is_served_any_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    held = LegalHold(hold_id="hold-1", reason_code="litigation", placed_by="op", placed_at=world.now)
    await world.outside.states.swap(tenant, placed(held))
    withdrawal = await withdrawn(world, tenant)
    assert old not in world.engine.names and (await world.state(tenant)).active_adapter is None
    assert weights(world, tenant, old), "the hold keeps them"
    await world.outside.states.swap(tenant, released("hold-1", "op", world.now))
    await world.settle()
    assert weights(world, tenant, old) == []
    assert (await receipt(world, tenant, withdrawal)).outcome == "retired"


async def test_a_later_withdrawal_tells_what_an_earlier_one_collected_of_the_same_adapter(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    first = await receipt(world, tenant, await withdrawn(world, tenant))
    second_id = await withdrawn(world, tenant, "e1")
    second = await receipt(world, tenant, second_id)
    assert second.affected == first.affected
    assert [one.receipt_sha256 is not None for one in second.affected[0].replicas] == [True]
    assert second.affected[0].replicas_found == ("replica-0",)
    store = await world.outside.store(tenant)
    closed, _ = await store.get_record(object_keys.closed_withdrawal(second_id), WithdrawalRecord)
    assert (closed.affected, closed.retiring) == ((old,), ()), "there was nothing left to retire"


async def test_a_retirement_that_another_withdrawal_has_under_way_is_left_to_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    held = LegalHold(hold_id="hold-1", reason_code="litigation", placed_by="op", placed_at=world.now)
    await world.outside.states.swap(tenant, placed(held))
    first, second = await withdrawn(world, tenant), await withdrawn(world, tenant, "e1")
    store = await world.outside.store(tenant)
    waiting, _ = await store.get_record(object_keys.open_withdrawal(second), WithdrawalRecord)
    assert (waiting.step, waiting.affected, waiting.retiring) == ("retiring", (old,), ())
    await world.outside.states.swap(tenant, released("hold-1", "op", world.now))
    await world.settle()
    for withdrawal in (first, second):
        assert (await receipt(world, tenant, withdrawal)).outcome == "retired"
    assert weights(world, tenant, old) == []


async def test_weights_of_a_retired_adapter_that_nobody_erases_are_erased_by_the_next_withdrawal(
    tmp_path: Path,
) -> None:
    """No open withdrawal will erase them: two drivers may each have relied on the other."""
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    adapter = (await world.state(tenant)).adapters[old]
    await world.outside.outbox.swap(tenant, retired({old: adapter}, "withdrawn-example", world.outside.outbox.entry))
    await world.settle()
    assert weights(world, tenant, old)
    said = await receipt(world, tenant, await withdrawn(world, tenant))
    assert (said.outcome, said.affected[0].replicas_found) == ("retired", ("replica-0",))
    assert weights(world, tenant, old) == []


async def test_a_full_replay_after_a_retirement_has_no_effect(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await trained(world, policy("retrain"))
    await withdrawn(world, tenant)
    await everything_again(world, tenant)


async def test_a_purge_in_the_middle_of_a_retirement_takes_everything(tmp_path: Path) -> None:
    for steps in range(0, 12, 2):
        world = World(tmp_path / str(steps))
        tenant, _ = await trained(world, policy("retrain"))
        await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
        for _ in range(steps):
            await world.step()
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
        await world.settle()
        assert (await world.state(tenant)).status == "purged"
        assert [key for key in world.memory.objects if key.startswith(object_keys.tenant_prefix(tenant))] == []


async def _life(world: World) -> dict[str, Any]:
    tenant, old = await trained(world, policy("retrain"))
    withdrawal = await withdrawn(world, tenant)
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=2))
    await world.settle()
    found = await summary(world, tenant)
    for record in found["records"]:
        record.pop("commitment", None)
    for one in (*found["state"]["runs"].values(), *found["state"]["adapters"].values()):
        one.pop("training_set_id")
    found["keys"] = [key for key in found["keys"] if "/training-sets/" not in key]
    # A replica loads a new adapter ahead of its requests, but not one that has died meanwhile.
    assert old not in found.pop("loaded")
    found["audit"]["said"] = [said for said in found["audit"]["said"] if not said.startswith("adapter.loaded")]
    return {**found, "said": (await receipt(world, tenant, withdrawal)).outcome}


@pytest.mark.spread
async def test_a_kill_at_any_effect_of_a_withdrawal_changes_nothing_in_the_end(one_life_in_many_copies: None) -> None:
    undisturbed = await kill_at_each(
        lambda crash: _life(World(SCRATCH, crash)),
        first=lambda crash: next(n for n, effect in enumerate(crash.effects) if "withdrawals" in effect),
    )
    assert undisturbed["said"] == "retired"
