"""Places adapters in the engine: loads on a request of their tenant, unloads when idle, evicts for good at a purge.

Everything runs on one event loop. A request reserves its adapter before it waits for anything, so that no eviction
can take it away between admission and answer. Concurrent requests for one adapter share one load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from inference.adapters.adapter_files import FetchedAdapter, NotServable
from inference.adapters.residency import NoRoom, Reservation, Residency, Withdrawn
from inference.engine.errors import AdapterInUse, AdapterLoadFailed, EngineDead, EngineFull
from inference.engine.loaded_adapters import Eviction
from inference.engine.ports import AdapterEngine
from inference.errors import cannot_load, no_room, no_such_model, not_active, still_loading
from tenancy.errors import Transient
from tenancy.platform.concurrency import OneOfEach
from tenancy.platform.logs import SCOPE
from tenancy.platform.recent_set import RecentSet
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

RETRY_AFTER_SECONDS = 5.0
DRAIN_POLL_SECONDS = 0.05
LOAD_WAIT_SECONDS = 60.0
"""So long a request waits for its adapter: longer than a load takes on a busy engine, and shorter than callers and
proxies wait as a rule. The load goes on, so that a later request finds it done.
"""
FETCHES = 3
"""Adapters that are fetched at once. Each has its own buffers and connections until it is checked. Without a bound that
is as many as the engine holds.
"""
UNLOADED = 1024
"""Unloaded adapters of which it is remembered that a slot may hold their weights, before the slots are overwritten."""


class Files(Protocol):
    """What placement asks of the adapters' files."""

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter: ...

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

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the weights is left. Cached blocks do not count: without its salt none is found."""
        return self.slots_overwritten and self.local_files_deleted


@dataclass
class _Load:
    tenant: TenantId
    task: asyncio.Task[None]
    has_begun: bool = False
    """To fetch. Until then it can be cancelled, and has left nothing."""


@dataclass
class Placement:
    """The adapters of one replica."""

    engine: AdapterEngine
    files: Files
    residency: Residency
    drain_seconds: float
    now: Callable[[], float] = time.monotonic
    on_loaded: Callable[[TenantId, str, float], None] = lambda tenant, digest, seconds: None
    load_wait_seconds: float = LOAD_WAIT_SECONDS
    _loads: dict[str, _Load] = field(default_factory=dict)
    _unloads: set[asyncio.Task[None]] = field(default_factory=set)
    # Every adapter that the engine was given, also one that is unloaded, until the free slots are overwritten: one of
    # them may hold its weights still.
    _owners: dict[str, TenantId] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)
    # For requests whose view of the tenant is older than the event. Later ones are refused by the state itself, so
    # that what these sets have forgotten is refused all the same.
    _gone: RecentSet[TenantId] = field(default_factory=RecentSet)
    _retired: RecentSet[tuple[TenantId, str]] = field(default_factory=RecentSet)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    # More than one turn, and one of them for each tenant, whose next fetch does not wait among those of all tenants
    # before its last one is over: one tenant's slow fetches hold up nobody else, however many adapters it asks for.
    _own_fetch: OneOfEach = field(default_factory=OneOfEach)
    _fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES))

    @asynccontextmanager
    async def held(self, tenant: TenantId, digest: str) -> AsyncIterator[None]:
        """Hold the tenant's adapter, loaded, for the life of one answer. Raises :class:`RequestRefused`."""
        if self.now() < self._failed.get(digest, float("-inf")):
            raise cannot_load()
        with ExitStack() as hold:
            try:
                async with asyncio.timeout(self.load_wait_seconds) as bound:
                    hold.callback(self.residency.release, await self._reserved(tenant, digest))
                    await self._loaded(tenant, digest)
            except TimeoutError:
                if not bound.expired():
                    raise
                raise still_loading() from None
            yield

    def has_room(self, digest: str) -> bool:
        """Whether the adapter can be loaded without evicting another."""
        try:
            return self.residency.victim(digest) is None
        except NoRoom:
            return False

    async def _reserved(self, tenant: TenantId, digest: str) -> Reservation:
        for has_waited in (False, True):
            try:
                while (victim := self.residency.victim(digest)) is not None:
                    await self._unload(victim)
                # No await from here to the start of the load: a purge that comes later finds it and drains it.
                self._require_servable(tenant, digest)
                return self.residency.reserve(digest)
            except NoRoom:
                raise no_room() from None
            except Withdrawn:
                if not has_waited:
                    async with self._changing:
                        continue  # it was being unloaded, and is loaded anew
        raise cannot_load()

    def _require_servable(self, tenant: TenantId, digest: str) -> None:
        """A tenant's view may be a moment old: it can still name what has left since."""
        if tenant in self._gone:
            raise not_active()
        if (tenant, digest) in self._retired or self._owner(digest) not in (None, tenant):
            raise no_such_model()

    def _owner(self, digest: str) -> TenantId | None:
        load = self._loads.get(digest)
        return self._owners.get(digest) if load is None else load.tenant

    def has(self, digest: str) -> bool:
        """Whether the adapter is loaded."""
        return digest in self.engine.loaded() and digest not in self._loads

    async def _loaded(self, tenant: TenantId, digest: str) -> None:
        if self.has(digest):
            return
        load = self._loads.get(digest)
        if load is None:
            # The load holds the adapter itself: its callers may all have gone before it ends.
            reservation = self.residency.reserve(digest)
            load = self._loads[digest] = _Load(tenant, asyncio.create_task(self._load(tenant, digest)))
            # A callback, which is called also for a load that is cancelled before its first step.
            load.task.add_done_callback(partial(self._load_over, digest, reservation))
        # Not awaited itself: the load goes on for the others when this caller goes away.
        await asyncio.wait([load.task])
        if load.task.cancelled():
            raise cannot_load()
        try:
            load.task.result()
        except (NotServable, AdapterLoadFailed, EngineFull) as error:
            logger.warning("adapter not loaded", extra={"adapter": digest, "reason": str(error)})
            raise cannot_load() from None

    def _load_over(self, digest: str, reservation: Reservation, task: asyncio.Task[None]) -> None:
        del self._loads[digest]
        self.residency.release(reservation)
        if not task.cancelled():
            task.exception()  # seen, also where every caller has gone away

    async def _load(self, tenant: TenantId, digest: str) -> None:
        started = self.now()
        try:
            async with self._own_fetch.of(tenant), self._fetches:
                self._loads[digest].has_begun = True
                self._require_staying(tenant, digest)
                fetched = await self.files.fetch(tenant, digest)
            self._require_staying(tenant, digest)
            self._owners[digest] = tenant
            await self.engine.load(digest, fetched.directory, fetched.verify)
        except BaseException as error:
            if not isinstance(error, EngineDead):
                # A negative cache: a broken adapter must not cost the other tenants a download per request.
                self._note_failure(digest)
            self.files.remove(digest)
            raise
        self._failed.pop(digest, None)
        self.on_loaded(tenant, digest, self.now() - started)

    def _require_staying(self, tenant: TenantId, digest: str) -> None:
        if tenant in self._gone:
            raise NotServable("its tenant is being purged")
        if (tenant, digest) in self._retired:
            raise NotServable("it is retired")

    def _note_failure(self, digest: str) -> None:
        """All are kept equally long, so the dictionary's order is that of their ends: what is over comes first."""
        self._failed.pop(digest, None)
        self._failed[digest] = self.now() + RETRY_AFTER_SECONDS
        while self._failed[oldest := next(iter(self._failed))] <= self.now():
            del self._failed[oldest]

    async def _unload(self, digest: str) -> None:
        """Take an adapter out that nobody uses. Who asked for the room may go away; the unloading goes on: cut off
        amid an eviction it would leave an adapter in the engine that has no name there.
        """
        task = asyncio.create_task(self._unload_whole(digest))
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)
        await asyncio.shield(task)

    async def _unload_whole(self, digest: str) -> None:
        """Forget it in the engine first, then its files."""
        async with self._changing:
            if digest not in self.residency.resident() or self.residency.reservations(digest):
                return  # gone already, or asked for while this waited
            self.residency.begin_eviction(digest)
            try:
                # Also where the engine lists no such name: an eviction that was cut off leaves an adapter without.
                await self.engine.evict(digest, scrub=False)
            except BaseException:
                # It keeps its place, or the replica would be smaller by one for ever.
                self.residency.drop(digest)
                with suppress(NoRoom):
                    self.residency.release(self.residency.reserve(digest))
                raise
            self.files.remove(digest)
            self.residency.drop(digest)

    async def unload_idle(self) -> None:
        """Unload what nobody asked for lately, and overwrite what adapters left in their slots, many at a time."""
        for digest in self.residency.idle():
            await self._unload(digest)
        await self._overwrite_unloaded()

    async def _overwrite_unloaded(self) -> None:
        """Every now and then, and here rather than at each unloading: it drops all cached blocks, and may take seconds.

        So ``_owners`` holds at most :data:`UNLOADED` adapters beside the resident ones, and those that came and went
        since the last call.
        """
        async with self._changing:
            unloaded = self._unloaded()
            if len(unloaded) <= UNLOADED:
                return
            # One eviction overwrites all free slots. No await since the list was made, and the engine takes its
            # changes in order: a load of this adapter that begins now comes after it. Nothing is unloaded meanwhile.
            eviction = await self.engine.evict(unloaded[0], scrub=True)
            if eviction.slot_overwritten:
                left = set(self._unloaded()).intersection(unloaded)
                for digest in left - set(eviction.remaining):
                    if self.files.remove(digest):
                        del self._owners[digest]

    def _unloaded(self) -> list[str]:
        """Adapters that the engine was given and does not serve any more, oldest first."""
        present = {*self.residency.resident(), *self._loads, *self.engine.loaded()}
        return [digest for digest in self._owners if digest not in present]

    def note_use(self, digest: str) -> None:
        """The adapter counts as used now, if it is resident."""
        if digest in self.residency.resident():
            self.residency.note_use(digest)

    def tenants(self) -> tuple[TenantId, ...]:
        """The tenants whose adapters are resident, the most recently used first."""
        owners = (self._owner(digest) for digest in reversed(self.residency.resident()))
        return tuple(dict.fromkeys(owner for owner in owners if owner is not None and owner not in self._gone))

    async def remove_tenant(self, tenant: TenantId) -> Removal:
        """Remove everything of a tenant whose requests are not admitted any more: those that run get ``drain_seconds``,
        by the base model too, and are ended then. Other tenants' requests go on.

        Raises :class:`Transient` where the engine ends meanwhile, or is being started: of one that does not answer
        nothing can be said.
        """
        self._gone.add(tenant)
        with _engine_that_answers():
            return await self._without(tenant)

    async def _without(self, tenant: TenantId) -> Removal:
        aborted = await self._drained(lambda: self.engine.inflight_of(tenant), lambda: self.engine.abort_all_of(tenant))
        loading = [digest for digest, load in self._loads.items() if load.tenant == tenant]
        known = [digest for digest, owner in self._owners.items() if owner == tenant]
        digests = list(dict.fromkeys((*known, *loading)))
        if digests:
            removal = await self._remove(digests)
            return replace(removal, requests_aborted=removal.requests_aborted + aborted)
        # What the tenant asked the base model lies in cached blocks too.
        reset = await self.engine.reset_prefix_cache()
        return replace(await self._nothing_here(prefix_cache_reset=reset), requests_aborted=aborted)

    async def remove_adapter(self, tenant: TenantId, digest: str) -> Removal:
        """Remove a retired adapter of this tenant, which is served no more. Raises :class:`Transient` as above."""
        self._retired.add((tenant, digest))
        with _engine_that_answers():
            if self._owner(digest) != tenant:
                return await self._nothing_here(prefix_cache_reset=True)
            return await self._remove([digest])

    def engine_ended(self) -> None:
        """The engine has ended, and nothing of it is left: forget what it held, and delete the files it read.

        What a request holds, what is being loaded and what is on its way out stays: whoever is at it finds that the
        next engine does not have it, and loads or evicts it there.
        """
        for digest in {*self._owners, *self.residency.resident()}:
            is_free = digest not in self._loads and not self.residency.is_needed(digest)
            if is_free and self.files.remove(digest):
                self.residency.drop(digest)
                self._owners.pop(digest, None)

    async def _nothing_here(self, *, prefix_cache_reset: bool) -> Removal:
        """It was never loaded here, as this server remembers. The engine is asked all the same: that it lists nothing
        of the tenant is what the receipt is signed for.
        """
        return Removal(
            evicted=(),
            remaining=await self.engine.listed(),
            slots_overwritten=True,
            prefix_cache_reset=prefix_cache_reset,
            local_files_deleted=True,
            requests_aborted=0,
        )

    async def _remove(self, digests: list[str]) -> Removal:
        """Drain or abort, forget the name, remove, overwrite the slot, reset the cache, delete the files.

        Another order can end the engine for everybody: a step that finds an adapter registered but its files gone
        raises inside the engine's loop. What is not complete is done again, whole, by the next call.
        """
        resident = [digest for digest in digests if digest in self.residency.resident()]
        for digest in resident:
            self.residency.begin_eviction(digest)
        for digest in digests:
            load = self._loads.get(digest)
            if load is not None and not load.has_begun:
                load.task.cancel()  # or everybody's unloading waits with this for a slot that nobody will use
        aborted = 0
        evictions: list[Eviction] = []
        async with self._changing:
            # One eviction overwrites all free slots: it stands for the adapters that were unloaded before.
            for digest in resident or digests[:1]:
                eviction, ended = await self._evicted(digest)
                evictions.append(eviction)
                aborted += ended
                self.residency.drop(digest)
            undeleted = [digest for digest in digests if not self.files.remove(digest)]
        removal = Removal(
            evicted=tuple(eviction.digest for eviction in evictions if eviction.was_loaded),
            remaining=evictions[-1].remaining,
            slots_overwritten=all(eviction.slot_overwritten for eviction in evictions),
            prefix_cache_reset=all(eviction.prefix_cache_reset for eviction in evictions),
            local_files_deleted=not undeleted,
            requests_aborted=aborted,
        )
        if removal.is_complete:
            for digest in digests:
                self._owners.pop(digest, None)
        return removal

    async def _evicted(self, digest: str) -> tuple[Eviction, int]:
        """The eviction of an adapter that admits nothing more, and how many requests it ended."""
        load = self._loads.get(digest)
        if load is not None:
            await asyncio.wait([load.task])
        aborted = await self._drained(lambda: self.engine.inflight(digest), lambda: self.engine.abort_all(digest))
        while True:
            try:
                return await self.engine.evict(digest, scrub=True), aborted
            except AdapterInUse:
                # A request that held the adapter reached the engine only now. Nobody comes after those that hold it.
                aborted += await self.engine.abort_all(digest)

    async def _drained(self, running: Callable[[], int], abort: Callable[[], Awaitable[int]]) -> int:
        """Wait for what runs, up to ``drain_seconds``, then end it; returns how many had to be ended."""
        for _ in range(int(self.drain_seconds / DRAIN_POLL_SECONDS)):
            if not running():
                break
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        return await abort()


@contextmanager
def _engine_that_answers() -> Iterator[None]:
    try:
        yield
    except EngineDead:
        raise Transient("the engine has ended, or is being started; what it holds is not known") from None
