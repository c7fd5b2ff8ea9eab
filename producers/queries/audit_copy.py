"""Reads a copy of one tenant's audit log from the bucket."""

from __future__ import annotations

from collections.abc import Iterator

from producers.progress import Progress, each, silent
from schemas.evidence.audit import segment_lines
from schemas.objects import object_keys
from tenancy.audit.copy import AuditCopy, StoredBody
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, UnknownTenant
from tenancy.tenant_id import TenantId


async def read_copy(tenancy: Tenancy, tenant: TenantId, *, progress: Progress = silent) -> AuditCopy:
    """Read the tenant's log. What is appended meanwhile may be in it or not, and never looks like a gap.

    Certificate and head are read first and the entries last: each reaches at least as far as what was read before it
    says.
    """
    read_at = tenancy.clock()
    prefix = object_keys.audit_prefix(tenant)
    certificate = await _certificate(tenancy, tenant)
    head = await _body(tenancy, object_keys.audit_head(tenant))

    async def stored(key: str) -> StoredBody:
        return StoredBody(key.removeprefix(prefix), (await tenancy.objects.get(key)).body)

    async def under(folder: str) -> tuple[StoredBody, ...]:
        keys = [key async for key in tenancy.objects.keys(folder)]
        return tuple(await each(keys, stored, what=f"reading {tenant}", progress=progress))

    checkpoints = await under(object_keys.audit_checkpoints_prefix(tenant))
    objects = await under(object_keys.audit_entries_prefix(tenant))
    entries = tuple(entry for held in objects for entry in _entries(held))
    return AuditCopy(tenant, entries, checkpoints, read_at, head, certificate)


def _entries(held: StoredBody) -> Iterator[StoredBody]:
    """Each entry of an object, by the name that an object of its own would have."""
    first, *more = segment_lines(held.body)
    yield StoredBody(held.name, first)
    folder, _, number = held.name.rpartition("/")
    for at, line in enumerate(more, start=1):
        yield StoredBody(f"{folder}/{int(number) + at:0{len(number)}d}" if number.isdecimal() else held.name, line)


async def _certificate(tenancy: Tenancy, tenant: TenantId) -> bytes | None:
    try:
        purge = (await tenancy.states.read(tenant)).state.purge
    except UnknownTenant:
        return None
    return None if purge is None else await _body(tenancy, object_keys.certificate_key(tenant, purge.purge_id))


async def _body(tenancy: Tenancy, key: str) -> bytes | None:
    try:
        return (await tenancy.objects.get(key)).body
    except ObjectNotFound:
        return None
