"""A replica that has nothing of a tenant acknowledges, with what its engine lists, and that is no effect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.purge.handlers import on_replica_evicted
from inference.adapters.pins import Pins
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.agent import AgentPorts, on_adapter_retired, on_purge_fenced
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import TenantStateCache
from producers.commands import legal_holds
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.events import PurgeFenced, ReplicaEvicted
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt
from tenancy.errors import Refused
from tenancy.state.activation import retired
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import assert_purged, learned
from tests.world.bus import Service
from tests.world.fakes import BASE, FakeEngine, FakeFiles
from tests.world.purging import record_of
from tests.world.world import POLICY, World


class ForgetfulEngine(FakeEngine):
    """Holds an adapter that requests cannot name and the server does not remember: vLLM alone lists it."""

    kept: tuple[str, ...] = ()

    async def listed(self) -> tuple[str, ...]:
        return (*self.names, *self.kept)


async def restarted(world: World, engine: FakeEngine | None = None) -> AgentPorts:
    """The world's replica with a new process: it remembers nothing, and reads its topics from their beginning."""
    lease = ReplicaLease(world.tenancy, "replica-0", BASE.digest, 30.0, world.now)
    await lease.register()
    world.server.lease = lease
    placement = Placement(
        engine or FakeEngine(),
        FakeFiles(),
        Residency(ResidencyPolicy(max_resident=4, idle_seconds=60), lambda: 0.0),
        0.0,
    )
    views, indexes = TenantStateCache(world.tenancy, 0.0), LoadedIndexes(1)
    return AgentPorts(world.tenancy, world.keys.receipt, views, placement, lease, indexes, Pins(0))


def service(world: World, name: str) -> Service:
    return next(found for found in world.services if found.name == name)


def acknowledgements(world: World) -> Iterator[Event[Any]]:
    for event in world.bus.topics.get(events.REPLICAS, []):
        if isinstance(event.data, ReplicaEvicted):
            yield event


def receipt(world: World, event: Event) -> EvictionReceipt:
    assert isinstance(event.data, ReplicaEvicted)
    return read_tolerant(EvictionReceipt, world.keys.trust.verify(event.data.receipt, EVICTION_PREDICATE)["predicate"])


async def held_purge(world: World) -> TenantId:
    """A tenant whose purge a legal hold keeps open."""
    tenant = await world.onboard("t1", POLICY)
    await learned(world, tenant)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    return tenant


async def test_a_full_replay_while_a_purge_is_open_has_no_effect_on_a_replica_started_after_the_fence(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await held_purge(world)
    service(world, "inference").ports = await restarted(world)
    before = len(list(acknowledgements(world)))
    world.outcomes.clear()
    world.rewind_all()
    await world.settle()
    assert ("inference", PurgeFenced.type, Outcome.NOOP_DUPLICATE) in world.outcomes
    assert [outcome for outcome in world.outcomes if outcome[2] is Outcome.EFFECT] == []
    assert len(list(acknowledgements(world))) > before, "it acknowledges all the same, for a purge that may wait for it"
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await world.settle()
    await assert_purged(world, tenant)


async def test_the_acknowledgement_of_a_replica_that_had_nothing_to_evict_is_what_the_purge_waits_for(
    tmp_path: Path,
) -> None:
    """It died between the fence and its acknowledgement, and the process that came after it holds nothing."""
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    await learned(world, tenant)
    service(world, "inference").ports = await restarted(world)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    noted = (await record_of(world, tenant)).acknowledgements
    assert [(ack.replica_id, ack.outcome, ack.adapters_evicted) for ack in noted] == [("replica-0", "evicted", 0)]
    assert ("inference", PurgeFenced.type, Outcome.NOOP_DUPLICATE) in world.outcomes


async def test_ending_the_requests_of_a_tenant_without_adapters_is_an_effect(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    world.engine.running[tenant] = 2
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    assert ("inference", PurgeFenced.type, Outcome.EFFECT) in world.outcomes


@pytest.mark.parametrize("cause", ["purge", "retirement"])
async def test_a_replica_that_never_loaded_an_adapter_signs_what_its_engine_lists(tmp_path: Path, cause: str) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    digest = await learned(world, tenant)
    engine = ForgetfulEngine(names={"b" * 64: Path("/nowhere")})
    engine.kept = (digest,)
    ports = await restarted(world, engine)
    if cause == "purge":
        command = events.PurgeRequested(purge_id="p9", reason_code="churned", requested_by="op")
        await world.handle(service(world, "purge"), await world.publish(tenant, command))
        data = PurgeFenced(purge_id="p9", fenced_at=world.now, deadline=world.now)
        await on_purge_fenced(Event(subject=tenant, data=data, time=world.now, source="/test"), ports)
    else:
        await on_adapter_retired(await retirement(world, tenant, digest), ports)
    [*_, last] = acknowledgements(world)
    signed = receipt(world, last)
    assert (signed.evicted, set(signed.remaining)) == ((), {digest, "b" * 64})


async def retirement(world: World, tenant: TenantId, digest: str) -> Event[Any]:
    """The event of a retirement that the state has."""
    adapter = (await world.state(tenant)).adapters[digest]
    await world.outside.outbox.swap(tenant, retired({digest: adapter}, "superseded", world.outside.outbox.entry))
    return next(one for one in world.bus.topics[events.ADAPTERS] if isinstance(one.data, events.AdapterRetired))


async def still_listing(tmp_path: Path) -> tuple[World, TenantId, str, AgentPorts]:
    """A tenant with an adapter that the engine goes on to list, behind a server that has forgotten it."""
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    digest = await learned(world, tenant)
    engine = ForgetfulEngine()
    engine.kept = (digest,)
    return world, tenant, digest, await restarted(world, engine)


async def test_a_purge_does_not_take_the_receipt_of_a_replica_whose_engine_lists_what_the_server_forgot(
    tmp_path: Path,
) -> None:
    world, tenant, _, ports = await still_listing(tmp_path)
    service(world, "inference").ports = ports
    purge = service(world, "purge")
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    await world.handle(purge, await world.publish(tenant, requested))
    [fenced] = [event for event in world.bus.topics[events.TENANTS] if isinstance(event.data, PurgeFenced)]
    await world.handle(service(world, "inference"), fenced)
    [*_, last] = acknowledgements(world)
    with pytest.raises(Refused, match="still lists an adapter"):
        await on_replica_evicted(last, purge.ports)
    assert json.loads((await world.memory.get("purges/t1/p1.json")).body)["acknowledgements"] == []


async def test_a_retirement_does_not_take_the_receipt_of_a_replica_whose_engine_lists_what_the_server_forgot(
    tmp_path: Path,
) -> None:
    world, tenant, digest, ports = await still_listing(tmp_path)
    await on_adapter_retired(await retirement(world, tenant, digest), ports)
    [*_, last] = acknowledgements(world)
    with pytest.raises(Refused, match="still lists an adapter"):
        await world.handle(service(world, "adapters"), last)
    store = await world.outside.store(tenant)
    assert [relative async for relative in store.list("withdrawals", "acknowledgements")] == []
