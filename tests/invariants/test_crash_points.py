"""Kill a process right before and right after each of its effects: the final state is that of an undisturbed run.

The loop is lived once undisturbed, to know its effects, and once more: at each effect a copy of everything is made, in
which the process dies, and which lives on to the end.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from producers.commands import legal_holds
from schemas.bus import events
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.world.crashes import CrashAt
from tests.world.killed_at_each import SCRATCH, kill_at_each
from tests.world.summary import summary
from tests.world.world import POLICY, World


@dataclass
class Purge:
    """A way to be purged, and at which effect it begins."""

    policy: TenantPolicy
    run: Callable[[World, TenantId], Awaitable[None]]
    begins_at: int = 0


async def _churned(world: World, tenant: TenantId) -> None:
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()


async def _taken_under_a_hold(world: World, tenant: TenantId) -> None:
    """The tenant takes its export, and then a hold that was there all the time is released."""
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="hold-1")
    await _churned(world, tenant)
    purge = (await world.state(tenant)).purge
    assert purge is not None
    assert purge.export_digest is not None
    taken = events.ExportAcknowledged(
        export_id=purge.purge_id, adapter_digest=purge.export_digest, acknowledged_by="op"
    )
    await world.publish(tenant, taken)
    await world.settle()
    assert (await world.driver.records.read(tenant, purge.purge_id)).is_blocked_by_hold
    await legal_holds.release(world.outside, tenant, "hold-1", released_by="op")
    await world.settle()


async def _not_taken(world: World, tenant: TenantId) -> None:
    """The tenant lets the time pass in which it could take its export."""
    await _churned(world, tenant)
    world.now += timedelta(days=POLICY.export_wait_days)
    await world.settle()


EXPORTING = POLICY.evolve(right_of_export=True)
LIVES = 2
"""Of a process that is killed once."""


async def _loop(world: World, purge: Purge) -> dict[str, Any]:
    """Two tenants through the whole loop; one of them is purged at the end."""
    tenant, other = await world.onboard("t1", purge.policy), await world.onboard("t10")
    for owner in (tenant, other):
        await world.publish(owner, events.ConsentGranted(consent_id="consent-1", version=1))
        await world.publish(owner, await world.approval(owner, "e0", text=owner))
        await world.publish(owner, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
        await world.publish(owner, await world.approval(owner, "e1", consent="consent-2", text=owner))
        await world.publish(owner, events.ConsentGranted(consent_id="consent-2", version=1))
        await world.publish(owner, events.ConsentRevoked(consent_id="consent-2", version=2))
        # The third eligible example completes the batch: what is eligible then does not depend on who is how fast.
        await world.publish(owner, world.document(owner, "d1"))
        await world.publish(owner, world.document(owner, "d2"))
        await world.publish(owner, world.document(owner, "d1", 2, "10 mg"))
        await world.publish(owner, events.DocumentRemoved(document_id="d2", version=1))
        for number in range(2, 5):
            await world.publish(owner, await world.approval(owner, f"e{number}", text=owner))
    await world.settle()
    active = (await world.state(tenant)).active_adapter
    if active is not None:
        async with world.placement.held(tenant, active):
            world.server.meter.tokens(tenant, 7, 2)
    await world.publish(tenant, events.ExportRequested(export_id="export-1", requested_by="op"))
    await world.settle()
    purge.begins_at = len(world.crash.effects)
    await purge.run(world, tenant)
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


@pytest.mark.spread
async def test_a_kill_at_any_effect_changes_nothing_in_the_end(one_life_in_many_copies: None) -> None:
    await _kill_at_each(lambda: Purge(POLICY, _churned), whole_loop=True)


@pytest.mark.spread
@pytest.mark.parametrize("run", [_taken_under_a_hold, _not_taken])
async def test_a_kill_at_any_effect_of_a_purge_that_waits_changes_nothing_in_the_end(
    run: Callable[[World, TenantId], Awaitable[None]], one_life_in_many_copies: None
) -> None:
    await _kill_at_each(lambda: Purge(EXPORTING, run), whole_loop=False)


async def _kill_at_each(make: Callable[[], Purge], *, whole_loop: bool) -> None:
    purges: list[Purge] = []

    async def live(crash: CrashAt) -> dict[str, Any]:
        purges.append(make())
        return _without_salts(await _loop(World(SCRATCH, crash), purges[-1]))

    undisturbed = await kill_at_each(
        live,
        first=lambda _: 0 if whole_loop else purges[0].begins_at,
        kept_by=lambda result, process: _without_what_a_server_forgets(result) if process == "inference" else result,
    )
    assert undisturbed["tenant"]["state"]["status"] == "purged"
    assert undisturbed["tenant"]["purge"]["step"] == "certified"
    assert undisturbed["tenant"]["keys"] == []
    assert undisturbed["other"]["state"]["active_adapter"] is not None


def _without_what_a_server_forgets(result: dict[str, Any]) -> dict[str, Any]:
    """What a server has loaded dies with it, as does what it used and loaded since it last told of it (docs/audit.md).
    A use is never told twice, and a load once by each life.
    """
    kept, of_who_stays = {}, result["other"]["state"]["adapters"]
    for name, one in result.items():
        said, published = one["audit"]["said"], one["published"]
        loaded = [line for line in said if line.startswith("adapter.loaded ")]
        used = [line for line in published if re.search(r" sano\.usage\.recorded \d{8}\.use-", line)]
        assert len(loaded) <= LIVES and len(used) <= 1
        kept[name] = {
            **one,
            "audit": {**one["audit"], "said": [line for line in said if line not in loaded]},
            "published": [line for line in published if line not in used],
            "loaded": [digest for digest in one["loaded"] if digest not in of_who_stays],
            "purge": _without_usage(one["purge"]),
        }
    return kept


def _without_usage(purge: dict[str, Any] | None) -> dict[str, Any] | None:
    """A purge counts how much usage there was to destroy."""
    return purge and {**purge, "found": [count for count in purge["found"] if count["store"] != "objects.usage"]}
