"""Kill a process right before and right after each of its effects: the final state is that of an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import events
from tests.world.crashes import CrashAt
from tests.world.summary import summary
from tests.world.world import World


async def _loop(world: World, *, with_purge: bool) -> dict[str, Any]:
    """Two tenants through the whole loop; one of them is purged at the end."""
    tenant, other = await world.onboard("t1"), await world.onboard("t10")
    for owner in (tenant, other):
        await world.publish(owner, events.ConsentGranted(consent_id="consent-1", version=1))
        await world.publish(owner, await world.approval(owner, "e0", text=owner))
        await world.publish(owner, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
        await world.publish(owner, await world.approval(owner, "e1", consent="consent-2", text=owner))
        await world.publish(owner, events.ConsentGranted(consent_id="consent-2", version=1))
        await world.publish(owner, events.ConsentRevoked(consent_id="consent-2", version=2))
        # The third eligible example completes the batch: what is eligible then does not depend on who is how fast.
        for number in range(2, 5):
            await world.publish(owner, await world.approval(owner, f"e{number}", text=owner))
    await world.settle()
    active = (await world.state(tenant)).active_adapter
    if active is not None:
        async with world.placement.held(tenant, active):
            pass
    await world.publish(tenant, events.ExportRequested(export_id="export-1", requested_by="op"))
    await world.settle()
    if with_purge:
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
        await world.settle()
    return {"tenant": await summary(world, tenant), "other": await summary(world, other)}


def _without_salts(result: dict[str, Any]) -> dict[str, Any]:
    """Commitments are salted at random, and training sets are named after them."""
    for one in result.values():
        for record in one["records"]:
            record.pop("commitment", None)
        for run in one["state"]["runs"].values():
            run.pop("training_set_id")
        for adapter in one["state"]["adapters"].values():
            adapter.pop("training_set_id")
        one["keys"] = [key for key in one["keys"] if "/training-sets/" not in key]
    return result


@pytest.fixture
def scratches(tmp_path: Path) -> Iterator[Any]:
    numbers = iter(range(100_000))
    return iter(lambda: tmp_path / str(next(numbers)), None)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_any_effect_changes_nothing_in_the_end(when: str, scratches: Any) -> None:
    recorder = CrashAt()
    undisturbed = _without_salts(await _loop(World(next(scratches), recorder), with_purge=True))
    assert undisturbed["tenant"]["state"]["status"] == "purged"
    assert undisturbed["tenant"]["keys"] == []
    assert undisturbed["other"]["state"]["active_adapter"] is not None
    wrong = []
    for position, effect in enumerate(recorder.effects):
        crash = CrashAt(position, when)
        result = _without_salts(await _loop(World(next(scratches), crash), with_purge=True))
        assert crash.has_crashed, "every position of the list is reached"
        if result != undisturbed:
            wrong.append((position, effect, _difference(result, undisturbed)))
    assert not wrong, "\n".join(map(str, wrong[:5]))


def _difference(one: Any, two: Any, path: str = "") -> str:
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [key for key in one | two if one.get(key) != two.get(key)]
        return "; ".join(_difference(one.get(key), two.get(key), f"{path}.{key}") for key in keys)
    if isinstance(one, list) and isinstance(two, list):
        return f"{path}: with {[x for x in one if x not in two]}, without {[x for x in two if x not in one]}"
    return f"{path}: {one} != {two}"
