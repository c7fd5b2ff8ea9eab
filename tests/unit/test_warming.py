"""A replica that starts loads what was used last, and its record says what that is: ids of tenants, and no more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from inference.adapters.adapter_files import FetchedAdapter, NotServable
from inference.adapters.pins import Pins
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.replica.lease import ReplicaLease
from inference.replica.warming import Warming
from inference.tenants.binding import TenantStateCache
from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaRecord
from schemas.objects.state import AdapterState, CanaryState, TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.lifecycle.replicas import Replicas
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANTS = tuple(TenantId(f"t{number}") for number in range(1, 5))
T1, T2, T3, T4 = TENANTS
LEASE_SECONDS = 30.0


def digest_of(tenant: TenantId) -> str:
    return tenant[-1] * 64


class SlowFiles(FakeFiles):
    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        await asyncio.sleep(3600)
        return await super().fetch(tenant, digest)


class WithoutOne(FakeFiles):
    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        if tenant == T2:
            raise NotServable("its hash is another")
        return await super().fetch(tenant, digest)


class Cluster:
    """A bucket with four tenants, and processes of replicas that are started and killed."""

    def __init__(self) -> None:
        self.now = NOW
        self.objects = MemoryObjectStore()
        self.tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/sanolith/inference", lambda: self.now
        )

    async def onboard(self) -> None:
        for tenant in TENANTS:
            adapter = AdapterState(
                status="ready",
                run_id="r1",
                fence=1,
                training_set_id="e" * 64,
                base_model_digest="b" * 64,
                size_bytes=1,
                published_at=NOW,
            )
            await self.tenancy.keys.create(tenant)
            await self.tenancy.states.create(
                TenantState(
                    tenant=tenant,
                    nonce="n",
                    adapters={digest_of(tenant): adapter, "f" * 64: adapter},
                    active_adapter=digest_of(tenant),
                )
            )

    async def change(self, tenant: TenantId, **changes: object) -> None:
        await self.tenancy.states.swap(tenant, lambda state: state.evolve(**changes))

    async def record(self, replica: str = "replica-0") -> ReplicaRecord:
        return read_tolerant(ReplicaRecord, (await self.objects.get(object_keys.replica_key(replica))).body)

    async def started(self, replica: str = "replica-0", limit: int = 4, files: FakeFiles | None = None) -> Process:
        process = Process(self, replica, limit, files or FakeFiles())
        await process.lease.register()
        return process


class Process:
    def __init__(self, cluster: Cluster, replica: str, limit: int, files: FakeFiles) -> None:
        self.engine = FakeEngine()
        self.residency = Residency(ResidencyPolicy(max_resident=limit, idle_seconds=60), lambda: 0.0, Pins(0))
        self.placement = Placement(self.engine, files, self.residency, 0.0, lambda: 0.0)
        self.lease = ReplicaLease(cluster.tenancy, replica, "b" * 64, LEASE_SECONDS, cluster.now)
        views = TenantStateCache(cluster.tenancy, 1.0, lambda: 0.0)
        self.warming = Warming(cluster.objects, self.lease, views, self.placement, limit, seconds=0.2)

    async def serve(self, *tenants: TenantId) -> None:
        """Answer, then renew the lease."""
        await self.warming.warm()
        for tenant in tenants:
            async with self.placement.held(tenant, digest_of(tenant)):
                pass
        await self.warming.renew()


async def cluster() -> Cluster:
    made = Cluster()
    await made.onboard()
    return made


async def test_the_next_process_loads_what_this_one_used_last_in_the_same_order() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2, T3)
    after = await bucket.started()
    await after.warming.warm()
    assert set(after.engine.loaded()) == {digest_of(tenant) for tenant in (T1, T2, T3)}
    assert after.residency.resident() == tuple(digest_of(tenant) for tenant in (T1, T2, T3))


async def test_a_record_names_tenants_and_nothing_else_of_them() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2)
    assert (await bucket.record()).used_last == (T2, T1)
    assert digest_of(T1).encode() not in (await bucket.objects.get(object_keys.replica_key("replica-0"))).body


async def test_no_more_is_loaded_than_fits() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2, T3)
    after = await bucket.started(limit=2)
    await after.warming.warm()
    assert after.residency.resident() == (digest_of(T2), digest_of(T3))


async def test_pinned_adapters_come_first_where_not_all_fit() -> None:
    bucket = await cluster()
    await bucket.change(T1, policy=TenantPolicy(keep_resident=True))
    await (await bucket.started()).serve(T3, T1, T2)
    await bucket.change(T2, canary=CanaryState(adapter_digest="f" * 64, percent=10, activation=1, began_at=NOW))
    after = await bucket.started(limit=2)
    await after.warming.warm()
    assert after.engine.calls == [("load", digest_of(T1)), ("load", digest_of(T2))]


async def test_a_fenced_tenant_is_never_warmed_and_leaves_the_record() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2)
    await bucket.change(T2, status="purging", adapters={}, active_adapter=None)
    after = await bucket.started()
    await after.serve()
    assert after.engine.loaded() == (digest_of(T1),)
    assert (await bucket.record()).used_last == (T1,)


async def test_an_evicted_tenant_leaves_the_record_when_the_lease_is_renewed() -> None:
    bucket = await cluster()
    process = await bucket.started()
    await process.serve(T1, T2)
    await process.placement.remove_tenant(T2)
    await process.warming.renew()
    assert (await bucket.record()).used_last == (T1,)


async def test_the_record_of_a_replica_that_a_purge_cuts_off_names_nobody() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2)
    bucket.now += timedelta(hours=1)
    replicas = Replicas(bucket.objects, lambda: bucket.now, answer_seconds=60.0)
    assert await replicas.ended("replica-0", "purge-1", NOW, None) is not None
    assert (await bucket.record()).used_last == ()


async def test_an_additional_replica_warms_what_the_others_use_the_latest_of_each_first() -> None:
    bucket = await cluster()
    await (await bucket.started("replica-0")).serve(T1, T2)
    await (await bucket.started("replica-1", limit=1)).serve(T3)
    new = await bucket.started("replica-2", limit=2)
    await new.warming.warm()
    assert set(new.engine.loaded()) == {digest_of(T2), digest_of(T3)}


async def test_a_replica_killed_while_it_warms_leaves_the_note_to_the_next_one() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2)
    killed = await bucket.started()
    await killed.warming.renew()  # amid the loading
    after = await bucket.started()
    await after.warming.warm()
    assert set(after.engine.loaded()) == {digest_of(T1), digest_of(T2)}


async def test_a_start_waits_for_slow_adapters_no_longer_than_it_may() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1)
    after = await bucket.started(files=SlowFiles())
    await asyncio.wait_for(after.warming.warm(), timeout=30)
    assert after.engine.loaded() == ()


async def test_one_adapter_that_does_not_load_holds_up_no_other() -> None:
    bucket = await cluster()
    await (await bucket.started()).serve(T1, T2)
    after = await bucket.started(files=WithoutOne())
    await after.warming.warm()
    assert after.engine.loaded() == (digest_of(T1),)
