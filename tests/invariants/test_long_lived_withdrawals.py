"""A withdrawal of a tenant with many adapters and replicas, of which one look cannot end all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.adapters import retirement
from consumers.adapters.affected import ImpactFinder
from inference.replica.lease import ReplicaLease
from schemas.bus import events
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.errors import StoreUnavailable
from tenancy.storage.memory import MemoryObjectStore
from tests.invariants.test_withdrawals import policy, receipt, taught, trained, weights
from tests.world.fakes import BASE
from tests.world.world import QUIESCE_SECONDS, World

ADAPTERS, REPLICAS = 8, 15
REQUESTS = 60
"""Fewer than there are pairs of an adapter and a replica."""


class ShortLooks:
    """A store that answers so many requests and no more, until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for name in ("exists", "put"):
            monkeypatch.setattr(MemoryObjectStore, name, self._counting(getattr(MemoryObjectStore, name)))

    def _counting(self, call: Any) -> Any:
        async def counted(*arguments: Any, **named: Any) -> Any:
            if self.left is not None:
                if self.left == 0:
                    raise StoreUnavailable("the look is over")
                self.left -= 1
            return await call(*arguments, **named)

        return counted


async def test_each_look_makes_progress_however_short_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "ERASED_AT_ONCE", 2)
    world = World(tmp_path)
    tenant, old = await trained(world, policy("stop"))
    for number in range(1, ADAPTERS):
        await taught(world, tenant, 10 * number)
    for number in range(1, REPLICAS):
        await ReplicaLease(world.outside, f"replica-{number}", BASE.digest, 30.0, world.now).renew()
    world.now += timedelta(hours=1)
    made = await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    looks = ShortLooks(monkeypatch)
    for _ in range(20):
        for _ in range(10):
            await world.deliver()
        looks.left = REQUESTS
        await world.withdrawals.reconcile()
        looks.left = None
        world.now += timedelta(seconds=QUIESCE_SECONDS)
    said = await receipt(world, tenant, made.id)
    assert (said.outcome, len(said.affected)) == ("retired", ADAPTERS)
    assert {len(one.replicas) for one in said.affected} == {REPLICAS}
    assert weights(world, tenant, old) == []


async def test_of_each_set_no_more_is_kept_than_the_open_withdrawals_ask_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, old = await trained(world, policy("flag"))
    await taught(world, tenant, 10)
    times = {"withdrawn_at": world.now, "deadline": world.now}
    record = WithdrawalRecord(withdrawal_id="w1", example_id="e0", **times)
    other = WithdrawalRecord(withdrawal_id="w2", consent_id="consent-2", **times)
    uses = ImpactFinder(await world.outside.store(tenant), [record, other])
    state = await world.state(tenant)
    for asked in (record, other):
        affected = await uses.find(state, asked)
        assert set(affected) == set(state.adapters) and old in affected
    kept = list(uses._sets.values())
    assert kept == [(frozenset({"e0"}), frozenset({"consent-2"}))] * 2
