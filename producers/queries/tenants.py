"""Shows operators the tenants. Reads ids and numbers only; nothing here opens an example's text."""

from __future__ import annotations

from collections.abc import AsyncIterator

from joserfc.jwk import OKPKey
from pydantic import Field

from producers.queries.history import all_digests, all_run_ids
from schemas.base.contract import Contract
from schemas.base.identifiers import PurgeId, Sha256Hex, TenantName
from schemas.objects import object_keys
from schemas.objects.state import CanaryState, TenantState
from schemas.tenant.holds import LegalHold
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed
from tenancy.platform.concurrency import in_pages
from tenancy.tenant_id import TenantId


class TenantView(Contract):
    """One tenant. ``examples``, ``adapters`` and ``runs`` are absent where counting was not asked for."""

    tenant: TenantName
    status: str
    active_adapter: Sha256Hex | None
    canary: CanaryState | None = None
    adapters: int | None = None
    runs: int | None = None
    new_examples: int = Field(description="eligible, and in no training's batch yet")
    examples: int | None = None
    policy: TenantPolicy
    rev: int
    purge_id: PurgeId | None
    holds: tuple[LegalHold, ...] = ()
    public_key: dict[str, str] | None = Field(default=None, description="JWK to encrypt inline content to")
    public_key_thumbprint: str | None = Field(default=None, description="RFC 7638: what publishers compare it with")


async def pages(tenancy: Tenancy) -> AsyncIterator[list[TenantView]]:
    """Every tenant that was ever onboarded, purged ones too, by id, page by page."""
    async for snapshots in in_pages(tenancy.states.tenants(), tenancy.states.read):
        yield [_tenant_view(snapshot.state) for snapshot in snapshots]


async def tenant(tenancy: Tenancy, tenant_id: TenantId) -> TenantView:
    """One tenant, its examples, adapters and runs counted. Raises :class:`UnknownTenant`."""
    view = _tenant_view((await tenancy.states.read(tenant_id)).state)
    prefix = object_keys.tenant_area(tenant_id, "examples")
    counts = {
        "examples": sum([1 async for _ in tenancy.objects.keys(prefix)]),
        "adapters": len(await all_digests(tenancy, tenant_id)),
        "runs": len(await all_run_ids(tenancy, tenant_id)),
    }
    try:
        public_key = await tenancy.keys.public_key(tenant_id)
    except KeyDestroyed:
        return view.evolve(**counts)
    thumbprint = OKPKey.import_key(dict(public_key)).thumbprint()
    return view.evolve(**counts, public_key=public_key, public_key_thumbprint=thumbprint)


def _tenant_view(state: TenantState) -> TenantView:
    return TenantView(
        tenant=state.tenant,
        status=state.status,
        active_adapter=state.active_adapter,
        canary=state.canary,
        new_examples=len(state.curation.fresh),
        policy=state.policy,
        rev=state.rev,
        purge_id=state.purge.purge_id if state.purge else None,
        holds=state.holds,
    )
