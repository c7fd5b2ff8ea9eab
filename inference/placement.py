"""Which adapters are in the engine: loaded when a request of their tenant comes, unloaded when idle, evicted for good
at a purge.

Everything runs on one event loop. A request reserves its adapter before it waits for anything, so that no eviction
can take it away between admission and answer. Concurrent requests for one adapter share one load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from consumers.runtime.telemetry import SCOPE
from inference.engine_errors import AdapterLoadFailed, EngineFull
from inference.errors import cannot_load, no_room, not_active
from inference.fetching import NotServable
from inference.loaded_adapters import Eviction
from inference.residency import NoRoom, Residency, Withdrawn
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

RETRY_AFTER_SECONDS = 5.0
DRAIN_POLL_SECONDS = 0.05


class AdapterEngine(Protocol):
    """What placement asks of the engine."""

    def loaded(self) -> tuple[str, ...]: ...

    def inflight(self, digest: str) -> int: ...

    async def load(self, digest: str, directory: Path) -> None: ...

    async def evict(self, digest: str, *, scrub: bool) -> Eviction: ...

    async def abort_all(self, digest: str) -> int: ...

    async def reset_prefix_cache(self) -> bool: ...


class Files(Protocol):
    """What placement asks of the adapters' files."""

    async def fetch(self, tenant: TenantId, digest: str) -> Path: ...

    def remove(self, digest: str) -> bool: ...


@dataclass(frozen=True)
class Removal:
    """What became of a tenant's adapters on this replica."""

    evicted: tuple[str, ...]
    remaining: tuple[str, ...]
    slots_overwritten: bool
    prefix_cache_reset: bool
    local_files_deleted: bool
    requests_aborted: int


@dataclass
class Placement:
    """The adapters of one replica."""

    engine: AdapterEngine
    files: Files
    residency: Residency
    drain_seconds: float
    now: Callable[[], float] = time.monotonic
    on_loaded: Callable[[float], None] = lambda seconds: None
    _loads: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _owners: dict[str, TenantId] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)
    _gone: set[TenantId] = field(default_factory=set)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def held(self, tenant: TenantId, digest: str) -> AsyncIterator[None]:
        """Hold the tenant's adapter, loaded, for the life of one answer. Raises :class:`RequestRefused`."""
        if self.now() < self._failed.get(digest, float("-inf")):
            raise cannot_load()
        try:
            while (victim := self.residency.victim(digest)) is not None:
                await self._unload(victim)
            # No await from here to the reservation: a purge that comes later finds it and drains it.
            if tenant in self._gone:
                raise not_active()
            reservation = self.residency.reserve(digest)
        except NoRoom:
            raise no_room() from None
        except Withdrawn:
            raise not_active() from None
        try:
            self._owners[digest] = tenant
            await self._loaded(tenant, digest)
            yield
        finally:
            self.residency.release(reservation)

    async def _loaded(self, tenant: TenantId, digest: str) -> None:
        if digest in self.engine.loaded() and digest not in self._loads:
            return
        load = self._loads.get(digest)
        if load is None:
            load = asyncio.create_task(self._load(tenant, digest))
            self._loads[digest] = load
            load.add_done_callback(lambda _: self._loads.pop(digest, None))
        try:
            # Shielded: the load goes on for the others when this caller goes away.
            await asyncio.shield(load)
        except (NotServable, AdapterLoadFailed, EngineFull) as error:
            logger.warning("adapter not loaded", extra={"adapter": digest, "reason": str(error)})
            raise cannot_load() from None

    async def _load(self, tenant: TenantId, digest: str) -> None:
        started = self.now()
        try:
            directory = await self.files.fetch(tenant, digest)
            if tenant in self._gone:
                raise NotServable("its tenant is being purged")
            await self.engine.load(digest, directory)
        except BaseException:
            # A negative cache: a broken adapter must not cost the other tenants a download per request.
            self._failed[digest] = self.now() + RETRY_AFTER_SECONDS
            self.files.remove(digest)
            raise
        self._failed.pop(digest, None)
        self.on_loaded(self.now() - started)

    async def _unload(self, digest: str) -> None:
        """Take an adapter out that nobody uses: forget it in the engine first, then its files."""
        async with self._changing:
            if digest not in self.residency.resident() or self.residency.reservations(digest):
                return  # gone already, or asked for while this waited
            self.residency.withdraw(digest)
            if digest in self.engine.loaded():
                await self.engine.evict(digest, scrub=False)
            self.files.remove(digest)
            self.residency.drop(digest)
            self._owners.pop(digest, None)

    async def unload_idle(self) -> None:
        """Unload what nobody asked for lately."""
        for digest in self.residency.idle():
            await self._unload(digest)

    async def remove_tenant(self, tenant: TenantId) -> Removal:
        """Remove everything of a tenant whose requests are not admitted any more."""
        self._gone.add(tenant)
        return await self._remove([digest for digest, owner in self._owners.items() if owner == tenant])

    async def remove_adapter(self, tenant: TenantId, digest: str) -> Removal:
        """Remove a retired adapter of this tenant."""
        return await self._remove([digest] if self._owners.get(digest) == tenant else [])

    async def _remove(self, digests: list[str]) -> Removal:
        """Drain or abort, forget the name, remove, overwrite the slot, reset the cache, delete the files.

        Another order can end the engine for everybody: a step that finds an adapter registered but its files gone
        raises inside the engine's loop.
        """
        for digest in digests:
            self.residency.withdraw(digest)
        aborted = 0
        evictions: list[Eviction] = []
        files_deleted = True
        async with self._changing:
            for digest in digests:
                load = self._loads.get(digest)
                if load is not None:
                    await asyncio.wait([load])
                aborted += await self._drained(digest)
                evictions.append(await self.engine.evict(digest, scrub=True))
                files_deleted = self.files.remove(digest) and files_deleted
                self.residency.drop(digest)
                self._owners.pop(digest, None)
        return Removal(
            evicted=tuple(eviction.digest for eviction in evictions if eviction.was_loaded),
            remaining=evictions[-1].remaining if evictions else self.engine.loaded(),
            slots_overwritten=all(eviction.slot_overwritten for eviction in evictions),
            prefix_cache_reset=all(eviction.prefix_cache_reset for eviction in evictions),
            local_files_deleted=files_deleted,
            requests_aborted=aborted,
        )

    async def _drained(self, digest: str) -> int:
        for _ in range(int(self.drain_seconds / DRAIN_POLL_SECONDS)):
            if not self.engine.inflight(digest):
                break
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        return await self.engine.abort_all(digest)
