"""A legal hold and the texts of withdrawn, rejected and replaced examples: kept, never used, erased afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumers.curation.handlers import on_example_approved, on_example_rejected, on_example_withdrawn
from producers.commands import legal_holds
from schemas.bus import events
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Event
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.errors import Transient
from tenancy.lifecycle.example_texts import Texts
from tenancy.storage.objects import ObjectVersion
from tenancy.tenant_id import TenantId
from tests.invariants.stepping import Process, SteppedPublisher, SteppedStore, stepped
from tests.world.moment import Timestamp
from tests.world.world import World

HANDLERS: dict[type[events.EventData], Callable[[Event[Any], Tenancy], Any]] = {
    events.ExampleApproved: on_example_approved,
    events.ExampleRejected: on_example_rejected,
    events.ExampleWithdrawn: on_example_withdrawn,
}
WAYS = ["withdrawn", "rejected", "replaced"]


class SteppedListing(SteppedStore):
    """A process that stops before it lists, too: what it finds may have come after what it decided."""

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        await self._process.about_to(f"list {prefix}")
        async for version in self._inner.versions(prefix):
            yield version


def slow_at_listings(world: World, process: Process) -> Tenancy:
    objects: Any = SteppedListing(world.memory, process)
    return assemble(objects, world._master, SteppedPublisher(world, process), "/slow", world.clock)


@dataclass
class Scene:
    """An approved example and an event by which its text is of no use any more."""

    world: World
    tenant: TenantId
    event: Event
    moment: Timestamp

    @classmethod
    async def made(cls, scratch: Path, way: str) -> Scene:
        world = World(scratch)
        tenant = await world.onboard("t1", TenantPolicy(min_new_examples=9, min_training_examples=2))
        await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
        await world.publish(tenant, await world.approval(tenant, "e0"))
        await world.settle()
        made: dict[str, events.EventData] = {
            "withdrawn": events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"),
            "rejected": events.ExampleRejected(example_id="e0", version=2, reviewer_id="rev-1", reason_code="unclear"),
            "replaced": await world.approval(tenant, "e0", version=2, text="b"),
        }
        event = Event(subject=tenant, data=made[way], time=world.now, source="/test")
        return cls(world, tenant, event, Timestamp.of(world))

    def again(self) -> None:
        self.moment.again(self.world)

    async def handle(self, tenancy: Tenancy) -> None:
        await HANDLERS[type(self.event.data)](self.event, tenancy)

    async def place(self, tenancy: Tenancy) -> legal_holds.PlacedHold:
        return await legal_holds.place(tenancy, self.tenant, reason_code="litigation", placed_by="op", hold_id="h1")

    async def release(self) -> None:
        await legal_holds.release(self.world.outside, self.tenant, "h1", released_by="op")
        await self.world.withdrawals.reconcile()

    def lies(self, place: str) -> bool:
        """Whether any version of the first text is there."""
        return object_keys.tenant_key(self.tenant, place) in self.world.memory.objects

    @property
    def is_in_use(self) -> bool:
        return self.lies(object_keys.content("e0", 1))

    @property
    def is_aside(self) -> bool:
        return self.lies(object_keys.kept_text("e0", 1))

    async def assert_over(self) -> None:
        state = await self.world.state(self.tenant)
        assert (self.is_in_use, self.is_aside) == (False, False)
        assert (state.text_erasures, state.texts_kept) == ((), 0)


@pytest.fixture(params=WAYS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return await Scene.made(tmp_path, request.param)


async def test_without_a_hold_a_text_of_no_use_is_erased_at_once(scene: Scene) -> None:
    await scene.handle(scene.world.outside)
    await scene.assert_over()


async def test_under_a_hold_it_is_put_aside_sealed_and_erased_after_the_release(scene: Scene) -> None:
    store = await scene.world.outside.store(scene.tenant)
    before, _ = await store.get(object_keys.content("e0", 1))
    await scene.place(scene.world.outside)
    await scene.handle(scene.world.outside)
    assert not scene.is_in_use, "nothing that trains or exports reads it any more"
    kept, _ = await store.get_record(object_keys.kept_text("e0", 1), ExampleContent)
    assert kept == ExampleContent.model_validate_json(before)
    await scene.world.withdrawals.reconcile()
    await scene.handle(scene.world.outside)  # again
    assert scene.is_aside
    await scene.release()
    await scene.assert_over()


async def test_a_hold_that_meets_an_erasure_at_any_effect_keeps_the_text_or_says_that_it_was_being_erased(
    scene: Scene,
) -> None:
    alone = Process()
    await alone.start(scene.handle(stepped(scene.world, alone)))
    await alone.go()
    outcomes = set()
    for done in range(len(alone.effects) + 1):
        for between in (0, 1, 2):
            for dies in (False, True):
                scene.again()
                when = (done, between, dies)
                handler, operator = Process(), Process()
                await handler.start(scene.handle(stepped(scene.world, handler)))
                await handler.go(done)
                await operator.start(scene.place(stepped(scene.world, operator)))
                await handler.go(between)
                await operator.go(1)  # the swap, and no more
                was_there = scene.is_in_use or scene.is_aside
                await operator.go()
                told: legal_holds.PlacedHold = operator.result()
                if not dies:
                    await handler.go()
                await scene.world.withdrawals.reconcile()
                await scene.handle(scene.world.outside)  # after a death it comes again; else it is a redelivery
                await scene.world.withdrawals.reconcile()
                assert not scene.is_in_use, when
                if was_there and not told.texts_being_erased:
                    assert scene.is_aside, f"{when}: held, not told, and erased"
                outcomes.add((was_there, told.texts_being_erased, scene.is_aside))
                await scene.release()
                await scene.assert_over()
    assert (True, 0, True) in outcomes, "kept"
    assert (True, 1, False) in outcomes, "in the midst of it"
    assert (False, 0, False) in outcomes, "long over"


async def test_a_hold_that_is_placed_while_what_was_kept_is_being_erased_is_told_so(scene: Scene) -> None:
    await scene.place(scene.world.outside)
    await scene.handle(scene.world.outside)
    await legal_holds.release(scene.world.outside, scene.tenant, "h1", released_by="op")
    scene.moment = Timestamp.of(scene.world)

    async def settle(tenancy: Tenancy) -> None:
        store = await tenancy.store(scene.tenant)
        await Texts(tenancy.states, store).finish_erasures((await tenancy.states.read(scene.tenant)).state)

    alone = Process()
    await alone.start(settle(stepped(scene.world, alone)))
    await alone.go()
    kept = set()
    for done in range(len(alone.effects) + 1):
        scene.again()
        driver = Process()
        await driver.start(settle(stepped(scene.world, driver)))
        await driver.go(done)
        was_there = scene.is_aside
        told = await legal_holds.place(
            scene.world.outside, scene.tenant, reason_code="audit", placed_by="op", hold_id="h2"
        )
        await driver.go()
        await scene.world.withdrawals.reconcile()
        if was_there and not told.texts_being_erased:
            assert scene.is_aside, done
        kept.add(scene.is_aside)
        await legal_holds.release(scene.world.outside, scene.tenant, "h2", released_by="op")
        await scene.world.withdrawals.reconcile()
        await scene.assert_over()
    assert kept == {True, False}


async def test_a_slow_erasure_that_another_process_ended_removes_nothing_that_a_later_hold_keeps(
    tmp_path: Path,
) -> None:
    scene = await Scene.made(tmp_path, "replaced")
    store = await scene.world.outside.store(scene.tenant)
    alone = Process()
    await alone.start(scene.handle(slow_at_listings(scene.world, alone)))
    await alone.go()
    withdrawn = Event(
        subject=scene.tenant,
        data=events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"),
        time=scene.world.now,
        source="/test",
    )
    second = object_keys.tenant_key(scene.tenant, object_keys.kept_text("e0", 2))
    tried = 0
    for done in range(len(alone.effects) + 1):
        scene.again()
        slow = Process()
        await slow.start(scene.handle(slow_at_listings(scene.world, slow)))
        await slow.go(done)
        await Texts(scene.world.outside.states, store).finish_erasures(await scene.world.state(scene.tenant))
        told = await scene.place(scene.world.outside)
        await on_example_withdrawn(withdrawn, scene.world.outside)
        if not told.texts_being_erased and second in scene.world.memory.objects:
            with suppress(Transient):  # it may lose its races; what matters is what it destroyed
                await slow.go()
            assert second in scene.world.memory.objects, done
            tried += 1
    assert tried > 3


async def test_nothing_is_trained_with_a_kept_text(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", TenantPolicy(min_new_examples=9, min_training_examples=2))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    await world.publish(tenant, events.TrainingRequested(run_id="r1", trigger="operator"))
    await world.settle()
    assert world.trainer.trained == [("e1", "e2")]
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await world.settle()
    assert (await world.state(tenant)).status == "purged"
    assert [key for key in world.memory.objects if key.startswith(object_keys.tenant_prefix(tenant))] == []
