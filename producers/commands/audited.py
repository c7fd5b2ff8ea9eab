"""Audits operator commands that publish no event."""

from __future__ import annotations

from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import AuditBroken, Refused
from tenancy.tenant_id import TenantId


class NotAudited(Refused):
    """What was asked for is done, as ``done`` says; the tenant's audit log does not take its entry."""

    def __init__(self, done: str, broken: AuditBroken) -> None:
        super().__init__(
            broken.code,
            f"{done}, but that could not be entered in the audit log: {broken.what} is missing or was not written by "
            "this system. See `sano audit verify`, and give the same command, with the same id, after the repair",
        )


async def entered(tenancy: Tenancy, tenant: TenantId, record: AuditRecord, done: str) -> None:
    """Enter it once. Who was interrupted before this gives the command again. Raises :class:`NotAudited`."""
    try:
        await tenancy.audit.append(tenant, record, is_repeated=True)
    except AuditBroken as broken:
        raise NotAudited(done, broken) from None
