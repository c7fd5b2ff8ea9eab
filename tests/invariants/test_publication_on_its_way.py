"""A worker whose lease ends while its publishing swap is on its way: what the swap publishes is there, or it fails.

A request that was sent cannot be called back. It may have landed when the lease ends, or land once the worker is gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consumers.training.worker import Worker
from schemas.bus import events
from schemas.objects import object_keys
from tenancy.bootstrap import assemble
from tenancy.errors import LeaseLost, PreconditionFailed
from tenancy.state.leases import Lease, Leases
from tenancy.storage.memory import MemoryObjectStore
from tests.fixtures.gates import gate_of_tests
from tests.invariants.worlds import NAME, event, learned, service
from tests.invariants.writers import NEVER
from tests.world.world import World

LEASE = 0.3


class Unanswered(Leases):
    """Its renewals hang."""

    async def renew(self, lease: Lease) -> Lease:
        await asyncio.Event().wait()
        return lease


class SlowAnswers:
    """A store whose answer to the publishing swap does not come; the swap lands at once, or when ``land`` is set."""

    def __init__(self, inner: MemoryObjectStore, land: asyncio.Event) -> None:
        self._inner = inner
        self._land = land
        self.landing: asyncio.Task[None] | None = None
        self.has_landed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        if self.landing is None and key.endswith("/state.json") and b'"publishing"' in body:
            self.landing = asyncio.create_task(self._lands(key, body, conditions))
            await asyncio.Event().wait()
        return await self._inner.put(key, body, **conditions)

    async def _lands(self, key: str, body: bytes, conditions: Any) -> None:
        await self._land.wait()
        try:
            await self._inner.put(key, body, **conditions)
        except PreconditionFailed:
            return
        self.has_landed = True


@pytest.mark.parametrize("lands", ["before the lease ends", "after the worker has gone"])
async def test_a_publishing_swap_that_is_on_its_way_when_the_lease_ends_publishes_whole_or_not_at_all(
    lands: str, tmp_path: Path
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard(NAME)
    await learned(world, tenant)
    asked = events.TrainingRequested(run_id="run-2", trigger="operator")
    await world.handle(service(world, "training"), event(tenant, asked, world))
    land = asyncio.Event()
    objects: Any = SlowAnswers(world.memory, land)
    tenancy = assemble(objects, world._master, world.bus, "/worker", world.clock)
    store = await tenancy.store(tenant)
    leases = Unanswered(store, tenancy.outbox, "worker", world.clock, LEASE)
    worker = Worker(tenancy, store, world.keys.manifest, world.trainer, gate_of_tests, leases, tmp_path, NEVER)
    if lands == "before the lease ends":
        land.set()
    with pytest.raises(LeaseLost):
        await worker.attempt("run-2")
    land.set()
    assert objects.landing is not None
    await objects.landing
    assert objects.has_landed == (lands == "before the lease ends")
    attempts = (await world.state(tenant)).runs["run-2"].attempts
    await world.settle()
    run = (await world.state(tenant)).runs["run-2"]
    assert run.status == "completed"
    assert run.attempts == (attempts if objects.has_landed else attempts + 1)
    assert run.adapter_digest is not None
    weights = object_keys.adapter(run.adapter_digest, object_keys.ADAPTER_WEIGHTS)
    assert object_keys.tenant_key(tenant, weights) in world.memory.objects
    staged = object_keys.tenant_area(tenant, "staging")
    assert [key for key in world.memory.objects if key.startswith(staged)] == []


class UnansweredAtTheEnd(SlowAnswers):
    """And from then on it answers nothing: what ends the attempt hangs too."""

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        if self.landing is not None:
            await asyncio.Event().wait()
        return await super().put(key, body, **conditions)


async def test_a_worker_that_cannot_even_end_its_attempt_has_lost_its_lease_and_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard(NAME)
    await learned(world, tenant)
    asked = events.TrainingRequested(run_id="run-2", trigger="operator")
    await world.handle(service(world, "training"), event(tenant, asked, world))
    objects: Any = UnansweredAtTheEnd(world.memory, asyncio.Event())
    tenancy = assemble(objects, world._master, world.bus, "/worker", world.clock)
    store = await tenancy.store(tenant)
    leases = Unanswered(store, tenancy.outbox, "worker", world.clock, LEASE)
    worker = Worker(
        tenancy, store, world.keys.manifest, world.trainer, gate_of_tests, leases, tmp_path, deadline_seconds=1.0
    )
    async with asyncio.timeout(30):
        with pytest.raises(LeaseLost):
            await worker.attempt("run-2")
    assert objects.landing is not None
    objects.landing.cancel()
    await world.settle()
    assert (await world.state(tenant)).runs["run-2"].status == "completed"
