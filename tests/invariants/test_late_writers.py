"""Invariant 5: a writer that hangs for longer than a purge waits writes nothing into the prefix of a purged tenant.

Handlers have the runtime's deadline (``tests/unit/test_runtime.py``). These are the writers without a handling around
them. Each hangs before each of its effects, while the purge goes all the way, and goes on then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost, TenantFenced, Transient
from tenancy.state.leases import Lease, Leases
from tests.invariants.stepping import Process, Scene, stepped
from tests.invariants.worlds import assert_purged
from tests.invariants.writers import NEVER, bring_in, drive_withdrawals, run, taught, worker_of
from tests.world.at_once import skip_waits
from tests.world.world import QUIESCE_SECONDS

SHORT = 0.3

Late = Callable[[Scene, Tenancy, float], Awaitable[Any]]


class Unanswered(Leases):
    """Of a worker whose renewals hang, as everything else that it begins."""

    async def renew(self, lease: Lease) -> Lease:
        await asyncio.Event().wait()
        return lease


async def _work(scene: Scene, tenancy: Tenancy, deadline: float) -> None:
    await taught(scene)
    worker = await worker_of(scene, tenancy, deadline, lease=deadline)
    worker.leases = Unanswered(worker.store, tenancy.outbox, "worker", scene.world.clock, deadline)
    await worker.attempt("run-2")


LATE: dict[str, Late] = {
    "withdrawal driver": drive_withdrawals,
    "runner": run,
    "worker": _work,
    "import": bring_in,
}


async def _ended(write: Awaitable[Any]) -> None:
    with suppress(LeaseLost, TenantFenced, Transient):
        await write


@pytest.mark.parametrize("name", LATE)
async def test_fenced_a_writer_that_hangs_until_the_purge_is_certified_writes_nothing_any_more(
    name: str, tmp_path: Path
) -> None:
    skip_waits()
    scene = await Scene.made(tmp_path)
    world, write = scene.world, LATE[name]
    alone = Process()
    await alone.start(write(scene, stepped(world, alone), NEVER))
    await alone.go()
    own = object_keys.tenant_prefix(scene.tenant)
    assert [effect for effect in alone.effects if effect.startswith(f"put {own}")]
    for done in range(len(alone.effects)):
        scene.again()
        started = world.now
        writer = Process()
        await writer.start(_ended(write(scene, stepped(world, writer), SHORT)))
        await writer.go(done)
        assert len(writer.effects) == done + 1, "it hangs here"
        await asyncio.sleep(SHORT + 0.1)
        await scene.purge(world.outside)
        for _ in range(4):
            world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
            await world.driver.reconcile()
        await assert_purged(world, scene.tenant)
        await writer.go()
        left = [key for key in world.memory.objects if key.startswith(own)]
        assert left == [], alone.effects[done]
        await assert_purged(world, scene.tenant)
        world.now = started
