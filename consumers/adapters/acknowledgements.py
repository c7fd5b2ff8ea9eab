"""Stores replicas' acknowledgements of retirements: one object for each adapter and replica, read by any withdrawal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement, RetirementAcknowledgement
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore


async def note_acknowledgement(
    store: TenantStore, digest: str, acknowledgement: ReplicaAcknowledgement, receipt: dict[str, Any] | None = None
) -> bool:
    """Keep how a replica left a retired adapter and what it signed; the first word stands, and False says that."""
    stored = RetirementAcknowledgement(**acknowledgement.model_dump(), receipt=receipt)
    return await store.put_if_absent(object_keys.retirement_acknowledgement(digest, acknowledgement.replica_id), stored)


async def acknowledged_by(store: TenantStore, digests: Iterable[str]) -> dict[str, list[str]]:
    """The replicas that are known to be rid of each adapter, in the order of their ids."""

    async def listed(digest: str) -> tuple[str, list[str]]:
        names = store.list("withdrawals", "acknowledgements", digest)
        return digest, [relative.rpartition("/")[2] async for relative in names]

    return dict(await gathered(listed(digest) for digest in digests))


async def acknowledgements(store: TenantStore, digests: Iterable[str]) -> dict[str, tuple[ReplicaAcknowledgement, ...]]:
    """How each replica that is known to be rid of each adapter left it, in the order of the replicas' ids."""
    noted = await acknowledged_by(store, digests)

    async def read(digest: str, replica_id: str) -> ReplicaAcknowledgement:
        key = object_keys.retirement_acknowledgement(digest, replica_id)
        return (await store.get_record(key, ReplicaAcknowledgement))[0]

    found = iter(await gathered(read(digest, replica) for digest, replicas in noted.items() for replica in replicas))
    return {digest: tuple(islice(found, len(replicas))) for digest, replicas in noted.items()}
