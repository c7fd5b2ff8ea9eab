"""Shares a service's work beside the events out among its processes: by the partitions that each is assigned.

The group that shares out the records shares out the tenants too, and moves a dead process's share on. Who handles a
tenant's events looks after its unfinished work as well, so that an event wakes the right process. A share spares work
and decides nothing: while it moves two processes may look at one tenant, and each step is a compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from aiokafka.partitioner import murmur2

from consumers.runtime.parsing import Partition
from tenancy.tenant_id import TenantId


@dataclass
class Share:
    """The partitions of the service's first topic that this process has, and the tenants that fall into them.

    Nobody's before the first assignment. Given up partitions are kept until the next assignment says whose they are:
    where the bus is away, what needs no bus goes on.
    """

    _topic: str = field(default="", init=False)
    _count: Callable[[], int] = field(default_factory=lambda: lambda: 0, init=False)
    _held: frozenset[int] = field(default_factory=frozenset, init=False)

    def follow(self, topic: str, count: Callable[[], int]) -> None:
        """Follow the assignment of this topic, which has ``count`` partitions."""
        self._topic, self._count = topic, count

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take over what the group assigned: all that this process has from now on."""
        self._held = frozenset(number for topic, number in partitions if topic == self._topic)

    def owns(self, tenant: TenantId) -> bool:
        """Whether the tenant is of this share: where Kafka's own clients put the records of its key."""
        count = self._count()
        return count > 0 and (murmur2(tenant.encode()) & 0x7FFFFFFF) % count in self._held
