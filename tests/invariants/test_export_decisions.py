"""What an export is of is decided once: whatever the tenant's adapters are when its request comes again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.export.handlers import ExportPorts, on_export_requested
from producers.commands.requests import activate
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import TRAINING_PREDICATE, TrainingManifest
from schemas.objects import object_keys
from schemas.objects.exports import ExportDecision
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.lifecycle.exports import EXPORT_FILES, export_decision
from tenancy.tenant_id import TenantId
from tests.invariants.stepping import Process, stepped
from tests.invariants.test_runs import tenant_of, trained
from tests.invariants.test_withdrawals import policy, weights, withdrawn
from tests.invariants.test_withdrawals import trained as taught
from tests.invariants.worlds import event
from tests.world.summary import everything_again
from tests.world.world import World

EXPORT = "x7"


class Requests:
    """One export's request, delivered as often as a test wants."""

    def __init__(self, world: World, tenant: TenantId, digest: str | None = None) -> None:
        self.world, self.tenant = world, tenant
        data = events.ExportRequested(export_id=EXPORT, adapter_digest=digest, requested_by="op")
        self.event = event(tenant, data, world)

    async def delivered(self, tenancy: Tenancy | None = None) -> Outcome:
        ports = ExportPorts(tenancy or self.world.outside, self.world.keys.trust)
        return await on_export_requested(self.event, ports)

    async def begun(self) -> Process:
        """A delivery that stops before each of its effects."""
        process = Process()
        await process.start(self.delivered(stepped(self.world, process)))
        return process

    async def decision(self) -> ExportDecision | None:
        return await export_decision(await self.world.outside.store(self.tenant), EXPORT)

    async def exported(self) -> str:
        """The adapter that every file of the export is of."""
        store = await self.world.outside.store(self.tenant)
        body, _ = await store.get(object_keys.export(EXPORT, object_keys.ADAPTER_MANIFEST))
        signed = self.world.keys.trust.verify(json.loads(body), TRAINING_PREDICATE)
        digest = TrainingManifest.model_validate(signed["predicate"]).adapter_digest
        for file in object_keys.ADAPTER_FILES:
            copied, published = object_keys.export(EXPORT, file), object_keys.adapter(digest, file)
            assert (await store.get(copied))[0] == (await store.get(published))[0]
        return digest

    def announced(self) -> list[Any]:
        published = self.world.bus.topics.get(events.TENANTS, [])
        return [made.data for made in published if isinstance(made.data, events.ExportReady)]


async def two_adapters(scratch: Path) -> tuple[World, TenantId, str, str]:
    """A tenant whose second adapter is active."""
    world = World(scratch)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.settle()
    first, second = await trained(world, tenant, "r1"), await trained(world, tenant, "r2")
    assert (await world.state(tenant)).active_adapter == second
    return world, tenant, first, second


async def test_an_export_that_was_asked_for_before_there_was_an_adapter_is_made_by_no_replay(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await tenant_of(world, min_new_examples=100)
    await world.publish(tenant, events.ExportRequested(export_id="early", requested_by="op"))
    await world.settle()
    assert ("export", "sano.export.requested", Outcome.REFUSED_POLICY) in world.outcomes
    await trained(world, tenant, "r1")
    await everything_again(world, tenant)
    told = [outcome for name, _, outcome in world.outcomes if name == "export"]
    assert told == [Outcome.NOOP_DUPLICATE]
    store = await world.outside.store(tenant)
    assert [relative async for relative in store.list("exports")] == [object_keys.export_decision("early")]


async def test_an_export_of_an_unknown_adapter_stays_refused_once_the_adapter_is_known(tmp_path: Path) -> None:
    world, tenant, first, _ = await two_adapters(tmp_path)
    known = (await world.state(tenant)).adapters[first]

    async def is_now(status: str) -> None:
        entry = known.evolve(status=status)

        def change(state: TenantState) -> TenantState:
            return state.evolve(adapters={**state.adapters, first: entry})

        await world.outside.states.swap(tenant, change)

    await is_now("publishing")
    requests = Requests(world, tenant, first)
    for status in ("publishing", "ready"):
        await is_now(status)
        with pytest.raises(Refused) as refused:
            await requests.delivered()
        assert refused.value.code == "unknown-adapter"
    assert await requests.decision() == ExportDecision(refusal_code="unknown-adapter")
    assert requests.announced() == []


@pytest.mark.parametrize("done", range(1 + len(EXPORT_FILES) + 1))
async def test_an_export_is_of_the_same_adapter_after_a_crash_anywhere_and_another_activation(
    tmp_path: Path, done: int
) -> None:
    """The first effect is the decision, then each file, then the announcement."""
    world, tenant, first, second = await two_adapters(tmp_path)
    requests = Requests(world, tenant)
    process = await requests.begun()
    await process.go(done)
    await process.die()
    decided = await requests.decision()
    assert decided == (ExportDecision(adapter_digest=second) if done else None)
    await activate(world.outside, tenant, first)
    outcome = await requests.delivered()
    assert outcome == (Outcome.NOOP_DUPLICATE if done > len(EXPORT_FILES) else Outcome.EFFECT)
    expected = second if done else first
    assert await requests.exported() == expected
    assert {ready.adapter_digest for ready in requests.announced()} == {expected}
    assert await requests.delivered() is Outcome.NOOP_DUPLICATE


async def test_of_two_deliveries_at_once_that_find_different_adapters_active_one_decides(tmp_path: Path) -> None:
    world, tenant, first, second = await two_adapters(tmp_path)
    requests = Requests(world, tenant)
    slow = await requests.begun()
    assert slow.effects == [f"put {object_keys.tenant_key(tenant, object_keys.export_decision(EXPORT))}"]
    await activate(world.outside, tenant, first)
    quick = await requests.begun()
    await quick.go(2)  # it has decided, and copied one file
    await slow.go()
    await quick.go()
    assert await requests.exported() == first != second
    assert {ready.adapter_digest for ready in requests.announced()} == {first}


async def test_the_weights_of_an_export_that_was_cut_short_go_with_its_retired_adapter(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, digest = await taught(world, policy("stop"))
    requests = Requests(world, tenant)
    process = await requests.begun()
    await process.go(2)
    await process.die()
    copied = object_keys.tenant_key(tenant, object_keys.export(EXPORT, object_keys.ADAPTER_WEIGHTS))
    assert copied in weights(world, tenant, digest)
    await withdrawn(world, tenant)
    assert (await world.state(tenant)).adapters[digest].status == "retired"
    assert weights(world, tenant, digest) == []
    assert await requests.delivered() is Outcome.NOOP_STALE
    assert weights(world, tenant, digest) == []
