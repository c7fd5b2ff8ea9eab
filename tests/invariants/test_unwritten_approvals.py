"""An approval that was counted and passed over before its record was written: what forbids the example uncounts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.curation import handlers
from consumers.curation.handlers import on_example_approved, on_example_rejected, on_example_withdrawn
from consumers.curation.records import write_example
from consumers.runtime.dispatch import Handler
from schemas.bus import events
from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome
from schemas.objects.curation import ExampleRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.world.world import World

REFUSED = Refused("object-store-refused", "refused: the object store answered 403")


async def refuse(store: TenantStore, record: ExampleRecord, etag: str | None) -> None:
    raise REFUSED


async def write_and_stop(store: TenantStore, record: ExampleRecord, etag: str | None) -> None:
    await write_example(store, record, etag)
    raise REFUSED


def event_of(world: World, tenant: TenantId, data: DataT) -> Event[DataT]:
    return Event(subject=tenant, data=data, time=world.now, source="/test")


def rejection(world: World, tenant: TenantId, version: int = 1) -> Event[events.ExampleRejected]:
    data = events.ExampleRejected(example_id="e0", version=version, reviewer_id="rev-1", reason_code="unclear")
    return event_of(world, tenant, data)


def withdrawal(world: World, tenant: TenantId) -> Event[events.ExampleWithdrawn]:
    return event_of(world, tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))


async def tenant_of(world: World) -> TenantId:
    tenant = await world.onboard("t1", TenantPolicy(min_new_examples=9, min_training_examples=2))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    await world.publish(tenant, await world.approval(tenant, "other"))
    await world.settle()
    return tenant


async def counted_only(world: World, tenant: TenantId, version: int = 1) -> Event[events.ExampleApproved]:
    """An approval of e0 that was dead-lettered between the swap that counts it and its record."""
    approval = event_of(world, tenant, await world.approval(tenant, "e0", version=version))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused):
        patch.setattr(handlers, "write_example", refuse)
        await on_example_approved(approval, world.outside)
    assert await fresh(world, tenant) == ["other", "e0"]
    return approval


async def fresh(world: World, tenant: TenantId) -> list[str]:
    return [held.example_id for held in (await world.state(tenant)).curation.fresh]


async def test_a_rejection_uncounts_it_and_its_redrive_counts_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    approval = await counted_only(world, tenant)
    assert await on_example_rejected(rejection(world, tenant), world.outside) == Outcome.EFFECT
    assert await fresh(world, tenant) == ["other"]
    assert await on_example_approved(approval, world.outside) == Outcome.NOOP_STALE
    assert await fresh(world, tenant) == ["other"]


async def test_a_rejection_of_what_was_rejected_in_an_earlier_version_uncounts_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    await on_example_rejected(rejection(world, tenant), world.outside)
    await counted_only(world, tenant, version=2)
    await on_example_rejected(rejection(world, tenant, version=2), world.outside)
    assert await fresh(world, tenant) == ["other"]


async def test_a_withdrawal_uncounts_it_and_is_owed_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    await counted_only(world, tenant)
    await on_example_withdrawn(withdrawal(world, tenant), world.outside)
    assert await fresh(world, tenant) == ["other"]
    store = await world.outside.store(tenant)
    assert [name async for name in store.list("withdrawals")] == [], "nothing was trained with it"


@pytest.mark.parametrize("is_withdrawn", [False, True], ids=["rejected", "withdrawn"])
@pytest.mark.parametrize("redelivered", ["decision", "approval"])
async def test_a_redelivery_uncounts_it_where_the_decision_stopped_behind_its_record_and_no_text_says_so(
    tmp_path: Path, is_withdrawn: bool, redelivered: str
) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world)
    approval = await counted_only(world, tenant)
    decision: Event = withdrawal(world, tenant) if is_withdrawn else rejection(world, tenant)
    handle: Handler[Tenancy] = on_example_withdrawn if is_withdrawn else on_example_rejected
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused):
        patch.setattr(handlers, "write_example", write_and_stop)
        await handle(decision, world.outside)
    await (await world.outside.store(tenant)).erase_folder("contents", "e0")
    assert await fresh(world, tenant) == ["other", "e0"]
    if redelivered == "decision":
        assert await handle(decision, world.outside) == Outcome.EFFECT
    else:
        assert await on_example_approved(approval, world.outside) == Outcome.NOOP_STALE
    assert await fresh(world, tenant) == ["other"]
    assert await handle(decision, world.outside) == Outcome.NOOP_DUPLICATE
