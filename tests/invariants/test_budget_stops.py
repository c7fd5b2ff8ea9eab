"""A budget that is used up stops trainings that have not begun, until it is raised or the month is over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from producers.commands.policies import set_policy
from schemas.bus import events
from schemas.tenant.budget import BudgetSpent
from tests.invariants.test_withdrawals import policy
from tests.world.world import World


@pytest.mark.parametrize("ends", ["raised", "month", "warn"])
async def test_a_training_waits_while_the_budget_is_used_up(tmp_path: Path, ends: str) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", policy("flag", min_new_examples=3, monthly_budget=100.0, on_budget="stop"))
    spent = BudgetSpent(month=f"{world.now:%Y-%m}", spent=100.0)
    await world.outside.states.swap(tenant, lambda state: state.evolve(budget=spent))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()
    state = await world.state(tenant)
    assert [(run.status, run.attempts) for run in state.runs.values()] == [("queued", 0)]
    assert state.active_adapter is None
    if ends == "raised":
        await set_policy(world.outside, tenant, {"monthly_budget": 200.0})
    elif ends == "warn":
        await set_policy(world.outside, tenant, {"on_budget": "warn"})
    else:
        world.now += timedelta(days=32)
    await world.settle()
    assert (await world.state(tenant)).active_adapter is not None
