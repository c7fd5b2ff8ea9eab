"""Shows operators a tenant's runs and adapters, and finds an adapter by the start of its digest."""

from __future__ import annotations

from datetime import datetime

from producers.queries.history import all_adapters, all_digests, all_runs, left_out
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.objects.state import oldest_first
from schemas.objects.training import LeftOutExample
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class RunView(Contract):
    """One training run. ``left_out``: what its latest attempt could not train on."""

    run_id: OpaqueId
    status: str
    attempts: int
    requested_at: datetime
    reason_code: str | None
    adapter_digest: Sha256Hex | None
    training_set_id: Sha256Hex | None
    left_out: tuple[LeftOutExample, ...]
    trained_tokens: int
    train_seconds: float


class AdapterView(Contract):
    """One published adapter."""

    digest: Sha256Hex
    status: str
    active: bool
    rolled_back: bool
    run_id: OpaqueId
    training_set_id: Sha256Hex
    base_model_digest: Sha256Hex
    size_bytes: int
    published_at: datetime


_NOT_SHOWN = {"fence", "taken_at", "trigger"}


async def runs(tenancy: Tenancy, tenant_id: TenantId) -> list[RunView]:
    """The tenant's runs, oldest first. Raises :class:`UnknownTenant`."""
    runs = await all_runs(tenancy, tenant_id)
    without = await left_out(tenancy, tenant_id, runs)
    views = [
        RunView(run_id=run_id, left_out=without[run_id], **run.model_dump(exclude=_NOT_SHOWN))
        for run_id, run in runs.items()
    ]
    return sorted(views, key=lambda view: view.requested_at)


async def adapters(tenancy: Tenancy, tenant_id: TenantId) -> list[AdapterView]:
    """The tenant's published adapters, oldest first. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    known = await all_adapters(tenancy, tenant_id)
    return [
        AdapterView(
            digest=digest,
            active=digest == state.active_adapter,
            **known[digest].model_dump(exclude={"fence", "retired_at"}),
        )
        for digest in oldest_first(known)
    ]


async def whole_digest(tenancy: Tenancy, tenant_id: TenantId, start: str) -> str:
    """The one digest of the tenant's adapters that begins with ``start``. Raises :class:`Refused`."""
    found = [digest for digest in await all_digests(tenancy, tenant_id) if digest.startswith(start)]
    if len(found) != 1:
        await tenancy.active(tenant_id)  # a purged tenant has none, whatever the digest
        which = "no adapter" if not found else f"{len(found)} adapters"
        raise Refused("unknown-adapter", f"refused: the tenant has {which} whose digest begins so")
    return found[0]


async def owner(tenancy: Tenancy, start: str) -> tuple[TenantId, str]:
    """The tenant and the whole digest of the adapter that begins with ``start``. Raises :class:`Refused`."""
    ids = [tenant_id async for tenant_id in tenancy.states.tenants()]
    held = await gathered(all_digests(tenancy, tenant_id) for tenant_id in ids)
    found = [
        (tenant_id, digest)
        for tenant_id, digests in zip(ids, held, strict=True)
        for digest in digests
        if digest.startswith(start)
    ]
    if len(found) != 1:
        which = "no adapter" if not found else f"{len(found)} adapters"
        raise Refused("unknown-adapter", f"refused: {which} of any tenant has a digest that begins so")
    return found[0]
