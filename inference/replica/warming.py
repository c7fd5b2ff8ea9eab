"""Loads the adapters that were used last before a replica that starts reports ready, and keeps note of which these are.

The note is in the replica's own record, written when its lease is renewed: ids of tenants, and no more. What to load is
read from each tenant's state, so that a fenced one is left out and a new adapter takes the place of the old. A replica
without a note, such as an additional one, takes those of the others, whose callers are going to be its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest

from inference.adapters.placement import Placement
from inference.errors import RequestRefused
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import TenantStateCache
from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.replicas import USED_LAST, ReplicaRecord
from schemas.objects.state import TenantState
from tenancy.errors import ObjectNotFound
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")


@dataclass
class Warming:
    """Loads at most ``limit`` adapters ahead, for ``seconds`` at most: readiness waits so long, and no longer."""

    objects: ObjectStore
    lease: ReplicaLease
    views: TenantStateCache
    placement: Placement
    limit: int
    seconds: float
    _is_over: bool = False

    async def renew(self) -> None:
        """Renew the lease, with note of what is loaded now; of what was, while that is still being loaded."""
        if self._is_over:
            self.lease.used_last = self.placement.tenants()
        await self.lease.renew()

    async def warm(self) -> None:
        """Load what was used last, pinned adapters first. What cannot be loaded is left to the request that needs it.

        Never raises for an adapter or a record: a replica starts without them as well.
        """
        done: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                states = await self._states()
                for tenant, state in sorted(states, key=lambda one: not one[1].policy.keep_resident):
                    for digest in _answering(state)[: self.limit - len(done)]:
                        done += await self._loaded(tenant, digest)
        for digest in reversed(done):
            self.placement.note_use(digest)  # or what was used last would be the first to make room
        self._is_over = True
        if done:
            logger.info("adapters warmed", extra={"adapters": len(done)})

    async def _states(self) -> list[tuple[TenantId, TenantState]]:
        used = self.lease.used_last or await self._of_others()
        found = await gathered(self._state(tenant) for tenant in map(TenantId, used[: self.limit]))
        return [one for one in found if one is not None]

    async def _state(self, tenant: TenantId) -> tuple[TenantId, TenantState] | None:
        try:
            return tenant, await self.views.active(tenant)
        except RequestRefused:
            return None  # fenced, or gone
        except Exception as error:
            _skipped(error)
            return None

    async def _of_others(self) -> tuple[str, ...]:
        """The tenants that other replicas noted, each replica's latest first. Reads one record for each replica."""
        noted: list[tuple[str, ...]] = []
        try:
            async for key in self.objects.keys(object_keys.REPLICAS_PREFIX):
                try:
                    noted.append(read_tolerant(ReplicaRecord, (await self.objects.get(key)).body).used_last)
                except (ObjectNotFound, ValueError):
                    continue
        except Exception as error:
            _skipped(error)
        in_turn = chain.from_iterable(zip_longest(*noted))
        return tuple(dict.fromkeys(tenant for tenant in in_turn if tenant is not None))[:USED_LAST]

    async def _loaded(self, tenant: TenantId, digest: str) -> tuple[str, ...]:
        """The digest, if it can be loaded."""
        try:
            async with self.placement.held(tenant, digest):
                return (digest,)
        except Exception as error:
            _skipped(error)
            return ()


def _answering(state: TenantState) -> tuple[str, ...]:
    """The adapters that answer the tenant's requests now."""
    canary = None if state.canary is None else state.canary.adapter_digest
    return tuple(digest for digest in (state.active_adapter, canary) if digest is not None)


def _skipped(error: Exception) -> None:
    logger.warning("adapter not warmed", extra={"reason": type(error).__name__})
