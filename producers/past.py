"""A tenant's whole past: what its state holds and what was moved out of it."""

from __future__ import annotations

from producers.bounded import each
from schemas.state import AdapterState, RunState
from tenancy.archive import Archive
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed
from tenancy.tenant_id import TenantId


async def _archive(tenancy: Tenancy, tenant_id: TenantId) -> Archive | None:
    """None after a purge, when there is nothing any more."""
    try:
        return Archive(await tenancy.store(tenant_id))
    except KeyDestroyed:
        return None


async def all_runs(tenancy: Tenancy, tenant_id: TenantId) -> dict[str, RunState]:
    """Every run by id. Raises :class:`UnknownTenant`."""
    # The state is read first: what leaves it meanwhile is found in the archive.
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    if archive is None:
        return dict(state.runs)
    ids = [run_id async for run_id in archive.run_ids()]
    archived = zip(ids, await each(ids, archive.run), strict=True)
    return {**{run_id: run for run_id, run in archived if run is not None}, **state.runs}


async def all_adapters(tenancy: Tenancy, tenant_id: TenantId) -> dict[str, AdapterState]:
    """Every published adapter by digest. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    if archive is None:
        return dict(state.adapters)
    digests = [digest async for digest in archive.digests()]
    archived = zip(digests, await each(digests, archive.adapter), strict=True)
    return {**{digest: adapter for digest, adapter in archived if adapter is not None}, **state.adapters}


async def all_digests(tenancy: Tenancy, tenant_id: TenantId) -> set[str]:
    """Every published adapter's digest. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    archived = set() if archive is None else {digest async for digest in archive.digests()}
    return archived | set(state.adapters)
