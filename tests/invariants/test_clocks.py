"""Machines have clocks of their own, up to five seconds apart: no certificate is refused because of them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from producers import holds
from producers.verifying import verify_file
from schemas import events, object_keys
from tenancy.settings import CLOCK_SKEW_SECONDS
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import assert_purged, learned
from tests.world.purging import record_of
from tests.world.world import POLICY, World


class SkewedWorld(World):
    """Whoever reads the clock is another pod each time, whose clock is ahead by as much as may be, or not at all."""

    seed = 0

    def __init__(self, scratch: Path) -> None:
        self.ahead = random.Random(self.seed)
        super().__init__(scratch)

    def clock(self) -> datetime:
        return self.now + timedelta(seconds=self.ahead.choice((0.0, CLOCK_SKEW_SECONDS)))


async def assert_verified(world: World, tenant: TenantId, folder: Path) -> None:
    for _ in range(3):  # a clock that is behind may find the last waits not over yet
        await world.settle()
        world.now += timedelta(seconds=2 * CLOCK_SKEW_SECONDS)
    await assert_purged(world, tenant)
    record = await record_of(world, tenant)
    file = folder / "certificate.json"
    file.write_bytes((await world.memory.get(object_keys.certificate_key(record.purge_id))).body)
    verify_file(file, world.signer.verifier)


@pytest.mark.parametrize("ahead", [0, 3, 90])
async def test_a_hold_released_by_a_clock_that_is_ahead_leaves_a_certificate_that_verifies(
    tmp_path: Path, ahead: int
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    await holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    now = world.now
    world.now = now + timedelta(seconds=ahead)
    await holds.release(world.outside, tenant, "h1", released_by="op-2")
    world.now = now
    for _ in range(20):
        await world.step()  # without any time passing: the operator's clock stays ahead
    record = await record_of(world, tenant)
    released_at = record.holds[0].released_at
    assert released_at is not None
    assert record.destruction_decided_at == released_at == now + timedelta(seconds=ahead)
    await assert_verified(world, tenant, tmp_path)


@pytest.mark.parametrize("seed", range(6))
async def test_pods_that_take_turns_with_clocks_apart_leave_a_certificate_that_verifies(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SkewedWorld, "seed", seed)
    world = SkewedWorld(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await assert_verified(world, tenant, tmp_path)


@pytest.mark.parametrize("seed", range(6))
async def test_the_tenants_days_for_its_export_are_never_certified_as_cut_short(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pod sees the days over, another one, whose clock is behind, takes the decision."""
    monkeypatch.setattr(SkewedWorld, "seed", seed)
    world = SkewedWorld(tmp_path)
    tenant = await world.onboard("t1", POLICY.model_copy(update={"right_of_export": True}))
    await learned(world, tenant)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    export = (await record_of(world, tenant)).export
    assert export is not None
    world.now = export.waits_until - timedelta(seconds=CLOCK_SKEW_SECONDS)
    for _ in range(20):
        await world.step()
    world.now = export.waits_until
    await assert_verified(world, tenant, tmp_path)
