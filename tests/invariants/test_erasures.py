"""A legal hold and the erasure of a retired adapter's weights meet at one swap of the tenant's state: the weights stay,
or the hold names them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from consumers.adapters.withdrawals import WithdrawalReconciler
from producers.commands import legal_holds
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.holds import LegalHold
from tenancy.bootstrap import Tenancy
from tenancy.errors import ContendedState
from tenancy.lifecycle.example_texts import Texts
from tenancy.state.legal_holds import (
    MOST_ERASURES,
    Held,
    TooLateToHold,
    erasure_decided,
    erasure_done,
    placed,
    released,
)
from tenancy.tenant_id import TenantId
from tests.invariants.stepping import Process, stepped
from tests.invariants.test_withdrawals import policy, receipt, trained, weights, withdrawn
from tests.world.moment import Timestamp
from tests.world.world import World


@dataclass
class Scene:
    """A withdrawal whose adapter is retired and evicted everywhere: the next look erases its weights."""

    world: World
    tenant: TenantId
    digest: str
    withdrawal: str
    moment: Timestamp

    @classmethod
    async def made(cls, scratch: Path) -> Scene:
        world = World(scratch)
        tenant, digest = await trained(world, policy("stop"))
        # So far, and no further.
        await legal_holds.place(world.outside, tenant, reason_code="audit", placed_by="op", hold_id="first")
        withdrawal = await withdrawn(world, tenant)
        await legal_holds.release(world.outside, tenant, "first", released_by="op")
        store = await world.outside.store(tenant)
        await Texts(world.outside.states, store).finish_erasures(await world.state(tenant))  # they are tried elsewhere
        assert len(weights(world, tenant, digest)) == 4, "the adapter's files, and those of an export"
        return cls(world, tenant, digest, withdrawal, Timestamp.of(world))

    def again(self) -> None:
        self.moment.again(self.world)

    def driver(self, tenancy: Tenancy) -> WithdrawalReconciler:
        return replace(self.world.withdrawals, tenancy=tenancy)

    def held(self) -> list[str]:
        return weights(self.world, self.tenant, self.digest)

    async def place(self, tenancy: Tenancy) -> legal_holds.PlacedHold:
        return await legal_holds.place(tenancy, self.tenant, reason_code="litigation", placed_by="op", hold_id="h1")

    async def is_closed(self) -> bool:
        store = await self.world.outside.store(self.tenant)
        return not await store.exists(object_keys.open_withdrawal(self.withdrawal))


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return await Scene.made(tmp_path)


async def effects_of_an_erasure(scene: Scene) -> list[str]:
    scene.again()
    alone = Process()
    await alone.start(scene.driver(stepped(scene.world, alone)).reconcile())
    await alone.go()
    assert scene.held() == [] and await scene.is_closed()
    assert (await scene.world.state(scene.tenant)).erasures == ()
    return alone.effects


async def schedules(scene: Scene) -> AsyncIterator[tuple[int, int, bool]]:
    """After how many effects of the driver the hold is asked for, how many more come between the hold's read and its
    write, and whether the driver dies there."""
    effects = await effects_of_an_erasure(scene)
    for done in range(len(effects) + 1):
        for between in (0, 1, 2):
            for dies in (False, True):
                yield done, between, dies


async def die_before_the_first_erasure(scene: Scene) -> None:
    """The erasure is decided, and its process goes no further."""
    effects = await effects_of_an_erasure(scene)
    first = next(at for at, effect in enumerate(effects) if effect.startswith("erase ") and "/adapters/" in effect)
    scene.again()
    driver = Process()
    await driver.start(scene.driver(stepped(scene.world, driver)).reconcile())
    await driver.go(first)


async def assert_kept_or_named(scene: Scene, told: legal_holds.PlacedHold, whole: list[str], when: Any) -> None:
    if scene.digest in told.too_late_for:
        assert scene.held() == [], f"{when}: what was decided is done, also under the hold"
        assert await scene.is_closed(), when
        assert (await receipt(scene.world, scene.tenant, scene.withdrawal)).weights_erased
    else:
        assert scene.held() == whole, f"{when}: held, not named, and erased"
        assert not await scene.is_closed(), when


async def test_a_hold_that_meets_an_erasure_at_any_effect_keeps_the_weights_or_names_them(scene: Scene) -> None:
    whole, outcomes = scene.held(), set()
    async for when in schedules(scene):
        done, between, dies = when
        scene.again()
        driver, operator = Process(), Process()
        await driver.start(scene.driver(stepped(scene.world, driver)).reconcile())
        await driver.go(done)
        await operator.start(scene.place(stepped(scene.world, operator)))
        await driver.go(between)
        await operator.go()
        told: legal_holds.PlacedHold = operator.result()
        if not dies:
            await driver.go()
        await scene.world.withdrawals.reconcile()
        await assert_kept_or_named(scene, told, whole, when)
        state = await scene.world.state(scene.tenant)
        assert state.erasures == (), when
        again = await scene.place(scene.world.outside)
        assert set(told.too_late_for) <= set(again.too_late_for)
        assert again.erasures_decided == told.erasures_decided, "what the hold says does not change any more"
        await legal_holds.release(scene.world.outside, scene.tenant, "h1", released_by="op")
        await scene.world.withdrawals.reconcile()
        assert scene.held() == [] and await scene.is_closed(), when
        outcomes.add((scene.digest in told.too_late_for, bool(told.erasures_decided)))
    assert outcomes == {(False, False), (True, True), (True, False)}, "kept, in the middle of it, and long over"


async def test_two_drivers_and_a_hold_in_any_order_keep_the_weights_or_name_them(scene: Scene) -> None:
    whole = scene.held()
    effects = len(await effects_of_an_erasure(scene))
    named = set()
    for first in range(effects + 1):
        for second in range(0, effects + 1, 2):
            scene.again()
            one, other = Process(), Process()
            await one.start(scene.driver(stepped(scene.world, one)).reconcile())
            await other.start(scene.driver(stepped(scene.world, other)).reconcile())
            await one.go(first)
            await other.go(second)
            told = await scene.place(scene.world.outside)
            await one.go()
            await other.go()
            await scene.world.withdrawals.reconcile()
            await assert_kept_or_named(scene, told, whole, (first, second))
            assert (await scene.world.state(scene.tenant)).erasures == ()
            named.add(scene.digest in told.too_late_for)
    assert named == {True, False}


async def test_the_audit_log_says_that_an_erasure_was_decided_before_anything_is_erased_and_what_a_hold_missed(
    scene: Scene,
) -> None:
    await die_before_the_first_erasure(scene)
    await scene.place(scene.world.outside)
    log = entries_of(await read_copy(scene.world.outside, scene.tenant))
    decided = [entry for entry in log if entry.kind == "adapter.erasure_decided"]
    assert [entry.facts for entry in decided] == [{"adapter_digest": scene.digest}]
    [hold] = [entry for entry in log if entry.kind == "hold.placed" and entry.facts["hold_id"] == "h1"]
    assert hold.facts["too_late_for_1"] == scene.digest
    assert hold.seq > decided[0].seq


async def test_a_purge_in_the_middle_of_an_erasure_does_not_make_a_hold_forget_what_it_is_too_late_for(
    scene: Scene,
) -> None:
    """The fence empties the state's lists; what is being erased stays in it until the purge itself destroys."""
    await die_before_the_first_erasure(scene)
    purge = next(found for found in scene.world.services if found.name == "purge")
    asked = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    await scene.world.handle(purge, Event(subject=scene.tenant, data=asked, time=scene.world.now, source="/test"))
    assert (await scene.world.state(scene.tenant)).status == "purging"
    assert (await scene.place(scene.world.outside)).too_late_for == (scene.digest,)
    await legal_holds.release(scene.world.outside, scene.tenant, "h1", released_by="op")
    await scene.world.settle()
    state = await scene.world.state(scene.tenant)
    assert (state.status, state.erasures) == ("purged", ())
    with pytest.raises(TooLateToHold):
        await scene.world.outside.states.swap(scene.tenant, placed(HOLD.evolve(hold_id="h2")))


HOLD = LegalHold.model_validate(
    {"hold_id": "h1", "reason_code": "litigation", "placed_by": "op", "placed_at": "2026-01-01T00:00:00Z"}
)


def test_what_is_being_erased_is_bounded_and_what_was_decided_is_not_decided_again() -> None:
    digests = [f"{number:064x}" for number in range(MOST_ERASURES + 1)]
    state = TenantState(tenant="t1", nonce="n")
    full = erasure_decided(digests[:MOST_ERASURES])(state)
    assert len(full.erasures) == MOST_ERASURES
    with pytest.raises(ContendedState):
        erasure_decided(digests[MOST_ERASURES:])(full)
    held = placed(HOLD)(full)
    assert held.holds[0].erasures_decided == full.erasures
    assert erasure_decided(digests[:2])(held) is held, "decided before the hold"
    with pytest.raises(Held):
        erasure_decided(digests[-1:])(held)
    done = erasure_done(digests[1:])(held)
    assert done.erasures == (digests[0],)
    assert done.holds == held.holds
    assert erasure_done(digests[1:])(done) is done
    open_again: Callable[[TenantState], TenantState] = erasure_decided(digests[-1:])
    assert open_again(released("h1", "op", HOLD.placed_at)(done)).erasures == (digests[0], digests[-1])


def test_states_and_holds_of_an_earlier_release_are_read() -> None:
    state = placed(HOLD)(TenantState(tenant="t1", nonce="n")).model_dump(mode="json", exclude={"erasures": True})
    state["holds"][0].pop("erasures_decided")
    read = read_tolerant(TenantState, state)
    assert (read.erasures, read.holds[0].erasures_decided) == ((), ())
