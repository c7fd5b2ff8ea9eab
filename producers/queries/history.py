"""Reads a tenant's whole history: entries in its state, and those archived from it."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.objects import object_keys
from schemas.objects.state import AdapterState, RunState
from schemas.objects.training import LeftOut, LeftOutExample
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed
from tenancy.platform.concurrency import gathered
from tenancy.state.archive import Archive
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
    return dict(state.runs) if archive is None else await archive.all_runs(state)


async def left_out(
    tenancy: Tenancy, tenant_id: TenantId, runs: Mapping[str, RunState]
) -> dict[str, tuple[LeftOutExample, ...]]:
    """What the latest attempt of each of these runs left out, by the run's id."""
    archive = await _archive(tenancy, tenant_id)

    async def of(run_id: str, run: RunState) -> tuple[LeftOutExample, ...]:
        if archive is None or run.fence == 0:  # no attempt was ever made
            return ()
        record, _ = await archive.store.find_record(object_keys.left_out(run_id, run.fence), LeftOut)
        return () if record is None else record.examples

    found = await gathered(of(run_id, run) for run_id, run in runs.items())
    return dict(zip(runs, found, strict=True))


async def all_adapters(tenancy: Tenancy, tenant_id: TenantId) -> dict[str, AdapterState]:
    """Every published adapter by digest. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    return dict(state.adapters) if archive is None else await archive.all_adapters(state)


async def all_run_ids(tenancy: Tenancy, tenant_id: TenantId) -> set[str]:
    """Every run's id; no record is opened. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    archived = set() if archive is None else {run_id async for run_id in archive.run_ids()}
    return archived | set(state.runs)


async def all_digests(tenancy: Tenancy, tenant_id: TenantId) -> set[str]:
    """Every published adapter's digest; no record is opened. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    archive = await _archive(tenancy, tenant_id)
    archived = set() if archive is None else {digest async for digest in archive.digests()}
    return archived | set(state.adapters)
