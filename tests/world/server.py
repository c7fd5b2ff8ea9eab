"""A serving replica of the world: its engine is a fake, and everything else is what a real one is made of."""

from __future__ import annotations

from datetime import timedelta

from inference.adapters.pins import Pins, pin_limit
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.agent import AgentPorts
from inference.replica.lease import ReplicaLease
from inference.replica.load_audit import LoadAudit
from inference.tenants.binding import TenantStateCache
from inference.tenants.usage import UsageMeter, UsageReporter
from tenancy.bootstrap import Tenancy
from tenancy.platform.clock import NewNonce
from tests.fixtures.all_keys import AllKeys
from tests.world.fakes import BASE, FakeEngine, FakeFiles

REPLICA = "replica-0"
LEASE_SECONDS = 30.0
MOST_OF_INDEXES = 2**24


class Server:
    """One process of the replica. Killed, it is gone with its adapters, its sums and its notes: make another."""

    def __init__(self, tenancy: Tenancy, signer: AllKeys, new_usage_id: NewNonce) -> None:
        self.tenancy = tenancy
        self.engine, self.files = FakeEngine(), FakeFiles()
        self.lease = ReplicaLease(tenancy, REPLICA, BASE.digest, LEASE_SECONDS, tenancy.clock())
        self.load_audit = LoadAudit(tenancy, REPLICA, lambda: None)
        self.meter = UsageMeter(now=lambda: 0.0)
        self.reporter = UsageReporter(self.meter, tenancy, new_usage_id)
        self.pins = Pins(pin_limit(4))
        self.placement = Placement(
            self.engine,
            self.files,
            Residency(ResidencyPolicy(max_resident=4, idle_seconds=60), lambda: 0.0, self.pins),
            0.0,
            on_loaded=lambda owner, digest, _: self.load_audit.note(owner, digest),
        )
        self.views = TenantStateCache(tenancy, 0.0, on_blocked=(self.pins.forget,), on_read=self.pins.follow)
        self.agent = AgentPorts(
            tenancy, signer.receipt, self.views, self.placement, self.lease, LoadedIndexes(MOST_OF_INDEXES), self.pins
        )
        self.is_registered = False

    async def keep_lease(self) -> None:
        """Register first, then renew as often as the real one: when a third of the lease is over."""
        if not self.is_registered:
            await self.lease.register()
            self.is_registered = True
        third = timedelta(seconds=LEASE_SECONDS / 3)
        if self.lease.expires_at is None or self.tenancy.clock() >= self.lease.expires_at - 2 * third:
            await self.lease.renew()
