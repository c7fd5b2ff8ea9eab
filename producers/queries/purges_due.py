"""Finds stuck and overdue purges, and tenants still active although they are to be purged."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenancy.errors import Refused
from tenancy.lifecycle.open_purges import open_purges
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.platform.clock import Clock
from tenancy.platform.concurrency import gathered
from tenancy.state.open_work import markers
from tenancy.storage.objects import ObjectStore


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
    """Look at every tenant that a marker names: of the others no purge is open, as far as the services' slow round over
    all tenants knows. Raises :class:`Refused` where that is not allowed.
    """
    due, now, records = PurgesDue(), clock(), PurgeRecords(objects, clock)
    tenants = list(await markers(objects, "purges"))
    for tenant, found in zip(tenants, await gathered(open_purges(records, one) for one in tenants), strict=True):
        for name, error in found.unreadable.items():
            if isinstance(error, Refused):
                raise error  # rights that are missing are no fault of one record
            due.unreadable.append(name)
        due.not_opened += [tenant] * found.is_not_opened
        due.not_fenced += [record.tenant for record in found.opened if record.is_not_fenced(now)]
        due.overdue += [one.tenant for one in found.opened if not one.is_not_fenced(now) and now >= one.deadline]
    return due
