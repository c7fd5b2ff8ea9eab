"""What a purge meets in the world: replicas that do not answer, stores that keep things, and a look at its events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from inference.replica.lease import ReplicaLease
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from tenancy.errors import DeletionRefused, LeaseLost
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion
from tenancy.tenant_id import TenantId
from tests.world.fakes import BASE
from tests.world.world import World


class Metrics:
    """What the purge watchdog of a world exports."""

    def __init__(self, world: World) -> None:
        self._registry = CollectorRegistry()
        meters = MeterProvider([PrometheusMetricReader(registry=self._registry)])
        world.watchdog.export(meters.get_meter("test"))

    def shown(self) -> str:
        """As ``/metrics`` gives them."""
        return generate_latest(self._registry).decode()


class MuteReplica:
    """A replica that renews its lease for as long as it can and never handles an event."""

    def __init__(self, world: World, replica_id: str) -> None:
        self.lease = ReplicaLease(world.outside, replica_id, BASE.digest, 30.0, world.now)

    async def renew(self) -> bool:
        """False once it was cut off."""
        try:
            await self.lease.renew()
        except LeaseLost:
            return False
        return True


class LockingObjectStore(MemoryObjectStore):
    """Keeps every version of the keys in ``locked``, as Object Lock does, and counts how often it was asked."""

    locked: set[str]
    asked: int

    @classmethod
    def instead_of(cls, memory: MemoryObjectStore) -> LockingObjectStore:
        """Turn the world's store into one that can lock: everybody holds the same object."""
        memory.__class__ = cls
        assert isinstance(memory, cls)
        memory.locked, memory.asked = set(), 0
        return memory

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        await super().delete_versions([version for version in versions if version.key not in self.locked])
        kept = [version.key for version in versions if version.key in self.locked]
        if kept:
            self.asked += 1
            raise DeletionRefused((key, "access-denied") for key in kept)


STEPS = 12  # so many turns of everybody are enough for whatever an hour may bring


async def live(world: World, hours: int, *mute: MuteReplica) -> None:
    """Everybody at work for so many hours, looking once an hour; over days, once in six. Mute replicas renew."""
    stride = 6 if hours > 24 else 1
    for _ in range(0, hours, stride):
        world.now += timedelta(hours=stride)
        for _ in range(STEPS):
            for replica in mute:
                await replica.renew()
            # A purge that a store refuses tries again at each turn, so there may be no turn without an effect.
            if not await world.step():
                break


async def record_of(world: World, tenant: TenantId) -> PurgeRecord:
    purge = (await world.state(tenant)).purge
    assert purge is not None
    return await world.driver.records.read(tenant, purge.purge_id)


def warnings(world: World, tenant: TenantId) -> list[str]:
    """Every warning about the tenant's purge that is on the bus, in order."""
    kinds = {"sano.purge.at_risk", "sano.purge.overdue"}
    log = world.bus.topics.get(events.TENANTS, [])
    return [
        f"{event.type.removeprefix('sano.purge.')}|{_percent(event.data)}"
        for event in log
        if event.subject == tenant and event.type in kinds
    ]


def _percent(data: events.EventData) -> str:
    return str(data.percent) if isinstance(data, events.PurgeAtRisk) else ""


def key_of(world: World, tenant: TenantId, area: str) -> str:
    """Some object of the tenant in this area."""
    prefix = object_keys.tenant_area(tenant, area)
    return next(key for key in sorted(world.memory.objects) if key.startswith(prefix))
