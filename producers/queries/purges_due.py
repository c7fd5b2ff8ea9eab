"""Finds stuck and overdue purges, and tenants still active although they are to be purged."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.bus.derived_commands import churn_id
from schemas.objects import object_keys
from tenancy.errors import Refused
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.platform.clock import Clock
from tenancy.platform.concurrency import gathered
from tenancy.state.registry import StateRegistry
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId


@dataclass
class PurgesDue:
    """By tenant, but for records that cannot be read, which are named by ``<tenant>/<id>``."""

    not_fenced: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    not_opened: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = {
            "still active, although a purge was asked for": self.not_fenced,
            "churned, and no purge was opened": self.not_opened,
            "overdue": self.overdue,
            "unreadable": self.unreadable,
        }
        return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in said.items() if names)


async def purges_due(objects: ObjectStore, clock: Clock) -> PurgesDue:
    """Look at every purge's record and at every tenant's state. Raises :class:`Refused` where that is not allowed."""
    due, now, opened = PurgesDue(), clock(), set()

    def note(name: str, error: Exception) -> None:
        if isinstance(error, Refused):
            raise error  # rights that are missing are no fault of one record
        due.unreadable.append(name)
        opened.add(name.partition("/")[0])

    async for record in PurgeRecords(objects, clock).all(note):
        opened.add(record.tenant)
        if record.is_not_fenced(now):
            due.not_fenced.append(record.tenant)
        elif record.step != "certified" and now >= record.deadline:
            due.overdue.append(record.tenant)
    states = StateRegistry(objects, clock)

    async def is_not_opened(tenant: TenantId) -> bool:
        """Whether the audit log, which another service keeps, knows of a churn that nothing followed from."""
        is_active = (await states.read(tenant)).state.status == "active"
        return is_active and await objects.exists(object_keys.audit_claim(tenant, churn_id(tenant)))

    others = [tenant async for tenant in states.tenants() if tenant not in opened]
    found = await gathered(is_not_opened(tenant) for tenant in others)
    due.not_opened += [tenant for tenant, is_due in zip(others, found, strict=True) if is_due]
    return due
