"""Two processes have runs that share events, as after a rebalance: wherever they meet, each event counts once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers.runtime.runs import InRuns
from schemas.bus.envelope import Event
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused, Transient
from tenancy.tenant_id import TenantId
from tests.invariants.stepping import Process, places, stepped
from tests.invariants.test_runs_of_events import IMPORT, TENANT, one_by_one, seen, told
from tests.invariants.worlds import service
from tests.world.moment import Timestamp
from tests.world.world import World


async def _run(world: World, process: Process, run: Sequence[Event[Any]]) -> None:
    """As a lane takes it: a run that fails is taken anew, and its events by themselves at last."""
    handler, ports = service(world, "curation").handlers[type(run[0].data)], stepped(world, process)
    assert isinstance(handler, InRuns)
    left = list(run)
    for _ in range(5):
        try:
            left = left[len(await handler.several(left, ports)) :]
        except (Transient, Refused):
            continue
        if not left:
            return
    raise AssertionError("the run does not end")


@pytest.mark.parametrize("least", [2, 5, 100])
@pytest.mark.parametrize(("first", "second"), [(slice(0, 5), slice(2, 7)), (slice(0, 7), slice(0, 7))])
async def test_runs_of_two_processes_that_share_events_count_each_once(
    tmp_path: Path, least: int, first: slice, second: slice
) -> None:
    policy = TenantPolicy(min_new_examples=least, min_training_examples=50)
    world = World(tmp_path)
    made = await told(world, policy, IMPORT)
    before = Timestamp.of(world)
    await one_by_one(world, made)
    expected = await seen(world)
    alone = Process()
    before.again(world)
    await alone.start(_run(world, alone, made[first]))
    await alone.go()
    assert len(alone.effects) > len(made[first]), "a record each, and the swap"
    for begun in places(alone.effects):
        for between in places(alone.effects):
            before.again(world)
            one, other = Process(), Process()
            await one.start(_run(world, one, made[first]))
            await one.go(begun)
            await other.start(_run(world, other, made[second]))
            await other.go(between)
            await one.go()
            await other.go()
            await one_by_one(world, made)  # what was acknowledged by neither comes again
            state = (await world.state(TenantId(TENANT))).curation
            assert (state.batches, len(state.fresh)) == divmod(len(IMPORT), least)
            found = await seen(world)
            assert found["keys"] == expected["keys"]
            assert found["published"] == expected["published"]
