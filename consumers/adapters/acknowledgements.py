"""How replicas left retired adapters: one object for each adapter and replica, for whichever withdrawal needs it."""

from __future__ import annotations

from typing import Any

from schemas import object_keys
from schemas.records import ReplicaAcknowledgement, RetirementAcknowledgement
from tenancy.errors import PreconditionFailed
from tenancy.store import TenantStore


async def note_acknowledgement(
    store: TenantStore, digest: str, acknowledgement: ReplicaAcknowledgement, receipt: dict[str, Any] | None = None
) -> bool:
    """Keep how a replica left a retired adapter and what it signed; the first word stands, and False says that."""
    stored = RetirementAcknowledgement(**acknowledgement.model_dump(), receipt=receipt)
    try:
        await store.put_record(
            object_keys.retirement_acknowledgement(digest, acknowledgement.replica_id), stored, if_absent=True
        )
    except PreconditionFailed:
        return False
    return True


async def has_acknowledged(store: TenantStore, digest: str, replica_id: str) -> bool:
    return await store.exists(object_keys.retirement_acknowledgement(digest, replica_id))


async def acknowledgements(store: TenantStore, digest: str) -> tuple[ReplicaAcknowledgement, ...]:
    """How each replica that is known to be rid of the adapter left it, in the order of the replicas' ids."""
    names = [relative async for relative in store.list("withdrawals", "acknowledgements", digest)]
    return tuple([(await store.get_record(relative, ReplicaAcknowledgement))[0] for relative in names])
