"""An event that anybody published orders no eviction and proves none: replicas act and sign for what states say.

And what a replica signed counts once: for what the state had asked for by then, of the process that holds its lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.base.canonical import sha256_hex
from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaRecord
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.errors import ObjectNotFound
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.tenant_id import TenantId
from tests.invariants.test_withdrawals import policy, trained, weights
from tests.invariants.test_withdrawals import receipt as withdrawal_receipt
from tests.invariants.worlds import DispatchedWorld, assert_purged, learned, receipt, service
from tests.world.purging import record_of
from tests.world.server import LEASE_SECONDS
from tests.world.world import PURGE, World

REPLICA = "replica-0"
TURNS = 12


async def turns(world: World) -> None:
    """Everybody at work, without any time passing."""
    for _ in range(TURNS):
        await world.step()


def acknowledgements(world: World) -> list[str]:
    return [
        one.data.cause_id for one in world.bus.topics[events.REPLICAS] if isinstance(one.data, events.ReplicaEvicted)
    ]


async def lease(world: World) -> ReplicaRecord:
    return read_tolerant(ReplicaRecord, (await world.memory.get(object_keys.replica_key(REPLICA))).body)


@contextmanager
def deaf(world: World) -> Iterator[None]:
    """The replica lives and serves, and no event reaches it."""
    agent = service(world, "inference")
    positions, handlers, agent.handlers = dict(agent.positions), agent.handlers, {}
    yield
    agent.handlers, agent.positions = handlers, positions


async def forged_fence(world: World, tenant: TenantId) -> None:
    fenced = events.PurgeFenced(purge_id=churn_purge_id(tenant), fenced_at=world.now, deadline=world.now)
    await world.publish(tenant, fenced)


async def replayed(world: World, tenant: TenantId, cause: str, signed: dict[str, Any]) -> Outcome | None:
    """What is made of a receipt that somebody kept, by the service that it is for."""
    data = events.ReplicaEvicted(replica_id=REPLICA, cause_id=cause, receipt=signed)
    counting = "adapters" if data.names_an_adapter else "purge"
    before = len(world.outcomes)
    await world.publish(tenant, data)
    await turns(world)
    of_it = (counting, events.ReplicaEvicted.type)
    return next((outcome for *name, outcome in world.outcomes[before:] if tuple(name) == of_it), None)


async def test_events_that_the_states_contradict_evict_nothing_and_are_not_signed_for(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    tenant, other = await world.onboard("t1"), await world.onboard("t10")
    digest, foreign = await learned(world, tenant), await learned(world, other, text="b")
    retirements = (tenant, digest), (tenant, foreign), (tenant, "9" * 64)
    await forged_fence(world, tenant)
    await forged_fence(world, TenantId("nobody"))
    for whose, named in retirements:
        await world.publish(whose, events.AdapterRetired(adapter_digest=named, reason_code="superseded"))
    world.outcomes.clear()
    await world.settle()
    told = [outcome for name, _, outcome in world.outcomes if name == "inference"]
    assert told == [Outcome.NOOP_STALE] * (2 + len(retirements))
    assert acknowledgements(world) == []
    assert {digest, foreign} <= set(world.engine.names)
    assert (await world.served(tenant), await world.served(other)) == (digest, foreign)
    assert await world.views.active(tenant)


BY_ANOTHER_PROCESS = {"evicted_at": timedelta(hours=1)}
BEFORE = {"evicted_at": -timedelta(seconds=CLOCK_SKEW_SECONDS + 1), "restart": False}
KEPT = pytest.mark.parametrize(
    ("kept", "is_refused"),
    [({"evicted_at": -timedelta(hours=1)}, True), (BY_ANOTHER_PROCESS, False), (BEFORE, True)],
    ids=["by another process and of before", "by another process", "of before"],
)
"""A receipt that was kept: when it says that it was signed, and whether the replica was started anew since. One of a
process before is what an honest replica leaves that died, and no dead letter; nobody who reads states leaves others."""


@KEPT
async def test_a_receipt_that_was_signed_before_the_churn_lets_no_purge_pass_while_the_replica_serves(
    kept: Mapping[str, Any], is_refused: bool, tmp_path: Path
) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard("t1")
    digest, purge_id = await learned(world, tenant), churn_purge_id(tenant)
    signed = receipt(world, tenant, cause=purge_id, evicted=(digest,), evicted_at=world.now + kept["evicted_at"])
    assert await replayed(world, tenant, purge_id, signed) is Outcome.NOOP_STALE, "there is no such purge yet"
    if kept.get("restart", True):
        world.restart_server()
        await world.step()
    assert await world.served(tenant) == digest, "it serves the tenant again"
    with deaf(world):
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
        await turns(world)
        outcome = await replayed(world, tenant, purge_id, signed)
        assert outcome is (Outcome.DEAD_LETTERED if is_refused else Outcome.NOOP_STALE)
        assert [error.partition(":")[0] for error in world.errors] == ["premature-receipt"] * is_refused
        record = await record_of(world, tenant)
        assert (record.step, record.acknowledgements) == ("shredded", ())
        assert digest in world.engine.names, "and the engine holds the adapter"
    await world.settle()
    await assert_purged(world, tenant)
    assert digest not in world.engine.names
    record = await record_of(world, tenant)
    [noted] = record.acknowledgements
    assert (noted.outcome, noted.incarnation) == ("evicted", world.lease.incarnation)
    assert sha256_hex(record.receipts[REPLICA]) == noted.receipt_sha256 != sha256_hex(signed)
    assert not world.lease.is_fenced


@KEPT
async def test_a_receipt_that_was_signed_before_a_retirement_lets_no_weights_be_erased_while_the_replica_serves(
    kept: Mapping[str, Any], is_refused: bool, tmp_path: Path
) -> None:
    world = DispatchedWorld(tmp_path)
    tenant, digest = await trained(world, policy("stop"))
    signed = receipt(world, tenant, cause=digest, evicted=(digest,), evicted_at=world.now + kept["evicted_at"])
    assert await replayed(world, tenant, digest, signed) is Outcome.DEAD_LETTERED, "the adapter is in service"
    world.errors.clear()
    if kept.get("restart", True):
        world.restart_server()
        await world.step()
    assert await world.served(tenant) == digest
    with deaf(world):
        withdrawal = await world.publish(
            tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request")
        )
        await turns(world)
        outcome = await replayed(world, tenant, digest, signed)
        assert outcome is (Outcome.DEAD_LETTERED if is_refused else Outcome.NOOP_STALE)
        assert [error.partition(":")[0] for error in world.errors] == ["premature-receipt"] * is_refused
        world.now += timedelta(seconds=PURGE.quiesce_seconds + 1)
        await turns(world)
        assert digest in world.engine.names
        assert weights(world, tenant, digest), "the replica that holds it has not acknowledged"
        with pytest.raises(ObjectNotFound):
            await withdrawal_receipt(world, tenant, withdrawal.id)
    await world.settle()
    assert digest not in world.engine.names and weights(world, tenant, digest) == []
    [affected] = (await withdrawal_receipt(world, tenant, withdrawal.id)).affected
    assert [(one.outcome, one.incarnation) for one in affected.replicas] == [("evicted", world.lease.incarnation)]


async def test_a_receipt_for_a_purge_that_is_asked_for_and_has_not_fenced_yet_is_refused(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    purge = service(world, "purge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumers.purge.driver.fence", no_fence)
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
        await turns(world)
        record = await world.driver.records.read(tenant, churn_purge_id(tenant))
        assert (record.step, (await world.state(tenant)).status) == ("requested", "active")
        signed = receipt(world, tenant, cause=record.purge_id, evicted_at=world.now + timedelta(hours=1))
        data = events.ReplicaEvicted(replica_id=REPLICA, cause_id=record.purge_id, receipt=signed)
        assert await world.handle(purge, await world.publish(tenant, data)) is Outcome.DEAD_LETTERED
    assert (await world.driver.records.read(tenant, record.purge_id)).acknowledgements == ()
    await world.settle()
    await assert_purged(world, tenant)


async def no_fence(*_: object) -> None:
    """The process that would fence hangs."""


# --- a replica that is started anew in the middle of it


async def test_a_purge_does_not_cut_off_a_replica_that_was_started_anew_before_its_receipt_was_counted(
    tmp_path: Path,
) -> None:
    """Its new process reads no event again, and need not: what the earlier one held ends with that one's lease."""
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    begun, found = world.now, world.lease.incarnation
    purge = service(world, "purge")
    handlers, purge.handlers = (
        purge.handlers,
        {k: v for k, v in purge.handlers.items() if k is not events.ReplicaEvicted},
    )
    positions = purge.positions[events.REPLICAS]
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await turns(world)
    assert len(acknowledgements(world)) == 1, "it acknowledged, and nobody has read that"
    world.restart_server()
    await world.step()
    purge.handlers, purge.positions[events.REPLICAS] = handlers, positions
    world.outcomes.clear()
    await turns(world)
    assert ("purge", events.ReplicaEvicted.type, Outcome.NOOP_STALE) in world.outcomes
    record = await record_of(world, tenant)
    assert (record.step, record.acknowledgements, record.incarnations) == ("shredded", (), {REPLICA: found})
    end = (await lease(world)).earlier[found]
    world.now = end + timedelta(seconds=CLOCK_SKEW_SECONDS)
    await turns(world)
    [noted] = (await record_of(world, tenant)).acknowledgements
    assert (noted.outcome, noted.incarnation, noted.lease_ended_at) == ("expired", found, end)
    assert world.now - begun < timedelta(seconds=2 * LEASE_SECONDS)
    await world.settle()
    await assert_purged(world, tenant)
    assert not world.lease.is_fenced and (await lease(world)).fenced_at is None


async def test_a_withdrawal_does_not_cut_off_a_replica_that_was_started_anew_before_its_receipt_was_counted(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant, digest = await trained(world, policy("stop"))
    found = world.lease.incarnation
    adapters = service(world, "adapters")
    handlers = adapters.handlers
    adapters.handlers = {k: v for k, v in handlers.items() if k is not events.ReplicaEvicted}
    positions = adapters.positions[events.REPLICAS]
    withdrawal = await world.publish(tenant, events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"))
    await turns(world)
    assert acknowledgements(world) == [digest]
    world.restart_server()
    await world.step()
    adapters.handlers, adapters.positions[events.REPLICAS] = handlers, positions
    await turns(world)
    store = await world.outside.store(tenant)
    record, _ = await store.get_record(object_keys.open_withdrawal(withdrawal.id), WithdrawalRecord)
    assert (record.step, record.incarnations) == ("retiring", {REPLICA: found})
    end = (await lease(world)).earlier[found]
    await world.settle()
    [affected] = (await withdrawal_receipt(world, tenant, withdrawal.id)).affected
    [noted] = affected.replicas
    assert (noted.outcome, noted.incarnation, noted.lease_ended_at) == ("expired", found, end)
    assert weights(world, tenant, digest) == []
    assert not world.lease.is_fenced and (await lease(world)).fenced_at is None


async def test_a_replica_that_dies_before_it_acknowledges_does_so_as_its_next_process(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    with deaf(world):
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
        await turns(world)
        world.restart_server()
    await turns(world)
    [noted] = (await record_of(world, tenant)).acknowledgements
    assert (noted.outcome, noted.incarnation) == ("evicted", world.lease.incarnation)
    await world.settle()
    await assert_purged(world, tenant)
