"""Each run makes an adapter of its own, and leaves nothing staged however it ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from schemas import events, object_keys
from schemas.policy import TenantPolicy
from tenancy.errors import ObjectNotFound
from tenancy.tenant_id import TenantId
from tests.world.world import World

EXAMPLES = 4


async def tenant_of(world: World, **policy: object) -> TenantId:
    """A tenant with four approved examples; e3 is under a consent of its own."""
    held = TenantPolicy.model_validate({"min_new_examples": EXAMPLES, "min_training_examples": 2, **policy})
    tenant = await world.onboard("t1", held)
    for consent in ("consent-1", "consent-2"):
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    for number in range(EXAMPLES):
        consent = "consent-2" if number == EXAMPLES - 1 else "consent-1"
        await world.publish(tenant, await world.approval(tenant, f"e{number}", consent=consent))
    return tenant


async def trained(world: World, tenant: TenantId, run_id: str) -> str:
    """The digest of one more run's adapter."""
    world.now += timedelta(hours=1)
    await world.publish(tenant, events.TrainingRequested(run_id=run_id, trigger="operator"))
    await world.settle()
    run = (await world.state(tenant)).runs[run_id]
    assert run.status == "completed" and run.adapter_digest is not None
    return run.adapter_digest


def staged(world: World) -> list[str]:
    return [key for key in world.memory.objects if "/staging/" in key]


async def weights_of(world: World, tenant: TenantId, digest: str) -> bytes:
    store = await world.outside.store(tenant)
    return (await store.get(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)))[0]


# --- an adapter for each run


async def test_consent_that_is_granted_again_is_trained_on_and_served_again(tmp_path: Path) -> None:
    """The same examples give the same weights. A receipt says that the first adapter's are erased, and stays true."""
    world = World(tmp_path)
    tenant = await tenant_of(world, on_withdrawal="stop")
    await world.settle()
    first = (await world.state(tenant)).active_adapter
    assert first is not None
    weights = await weights_of(world, tenant, first)
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-2", version=2))
    await world.settle()
    world.now += timedelta(hours=1)
    await world.settle()
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[first].status) == (None, "retired")

    await world.publish(tenant, events.ConsentGranted(consent_id="consent-2", version=3))
    await world.settle()
    again = await trained(world, tenant, "again")
    state = await world.state(tenant)
    assert again != first and state.active_adapter == again
    assert (state.adapters[first].status, state.adapters[again].status) == ("retired", "ready")
    assert await weights_of(world, tenant, again) == weights
    with pytest.raises(ObjectNotFound):
        await weights_of(world, tenant, first)
    async with world.placement.held(tenant, again):
        assert list(world.engine.names) == [again]

    # Redelivered from the start, the retired one does not come back and the served one stays.
    world.rewind_all()
    await world.settle()
    state = await world.state(tenant)
    assert (state.active_adapter, state.adapters[first].status) == (again, "retired")
    with pytest.raises(ObjectNotFound):
        await weights_of(world, tenant, first)


async def test_a_withdrawal_that_leads_back_to_an_earlier_set_is_over_once_it_was_trained_again(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.settle()
    earlier = await trained(world, tenant, "r1")
    await world.publish(tenant, await world.approval(tenant, "e9"))
    await world.settle()
    withdrawn = await trained(world, tenant, "r2")
    assert (await world.state(tenant)).active_adapter == withdrawn
    before = world.now
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e9", reason_code="patient-request"))
    await world.settle()
    state = await world.state(tenant)
    assert world.now - before < timedelta(days=1), "it was not the deadline that ended it"
    assert state.active_adapter not in (None, earlier, withdrawn)
    assert (state.adapters[withdrawn].status, state.adapters[earlier].status) == ("retired", "ready")


async def test_training_twice_on_the_same_examples_serves_what_was_trained_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.settle()
    first = await trained(world, tenant, "r1")
    second = await trained(world, tenant, "r2")
    assert (await world.state(tenant)).active_adapter == second
    assert second != first and await weights_of(world, tenant, second) == await weights_of(world, tenant, first)
