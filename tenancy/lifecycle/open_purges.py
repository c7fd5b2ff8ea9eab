"""Tells what of a tenant's purges is still to be done, and whether one that must be opened is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.bus.derived_commands import churn_id
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from tenancy.errors import UnknownTenant
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.state.registry import StateRegistry
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class OpenPurges:
    """``unreadable``: by ``<tenant>/<id>``, why. ``is_not_opened``: the audit log, which another service keeps, knows
    of a churn that nothing followed from.
    """

    opened: tuple[PurgeRecord, ...] = ()
    unreadable: dict[str, Exception] = field(default_factory=dict)
    is_not_opened: bool = False

    @property
    def is_any(self) -> bool:
        return bool(self.opened or self.unreadable or self.is_not_opened)


async def open_purges(records: PurgeRecords, tenant: TenantId) -> OpenPurges:
    """Look at one tenant: a request, one more for each of its purges, and two where there is none."""
    unreadable: dict[str, Exception] = {}
    found = await records.of(tenant, unreadable.__setitem__)
    opened = tuple(record for record in found if record.step != "certified")
    is_not_opened = not found and not unreadable and await _is_not_opened(records, tenant)
    return OpenPurges(opened, unreadable, is_not_opened)


async def _is_not_opened(records: PurgeRecords, tenant: TenantId) -> bool:
    objects = records.objects
    try:
        state = (await StateRegistry(objects, records.clock).read(tenant)).state
    except UnknownTenant:
        return False
    return state.status == "active" and await objects.exists(object_keys.audit_claim(tenant, churn_id(tenant)))
