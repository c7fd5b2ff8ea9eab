"""Looks at a tenant's documents as they are retrieved now."""

from __future__ import annotations

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.timestamps import Timestamp
from tenancy.bootstrap import Tenancy
from tenancy.knowledge.published import read_set
from tenancy.tenant_id import TenantId


class DocumentView(Contract):
    """One document that can be cited. ``is_effective``: whether it may be cited now."""

    document_id: OpaqueId
    version: int
    title: str
    passages: int
    effective_from: Timestamp | None
    effective_until: Timestamp | None
    is_effective: bool


async def documents(tenancy: Tenancy, tenant: TenantId) -> list[DocumentView]:
    """In the order of their ids. Raises UnknownTenant and TenantFenced."""
    state = (await tenancy.active(tenant)).state
    held = await read_set(await tenancy.store(tenant), state.knowledge)
    now = tenancy.clock()
    return [
        DocumentView(
            document_id=document_id,
            version=entry.version,
            title=entry.title,
            passages=entry.passages,
            effective_from=entry.effective_from,
            effective_until=entry.effective_until,
            is_effective=entry.is_effective(now),
        )
        for document_id, entry in sorted(held.documents.items())
        if entry.status == "present"
    ]
