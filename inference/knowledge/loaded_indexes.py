"""Keeps tenants' indexes in memory: opened on first use, by digest, evicted when memory is short, overwritten.

Memory is shared fairly. An index within its share, the memory divided by the tenants that have one open, always gets
room, from larger ones. A larger one gets it only from what stayed for a while: else two of them would evict each other
with each question, and all other tenants would wait for what is read and opened.

Nothing of an index is ever in a file here: segments are opened into arrays of this process. A search runs in a thread
while the event loop goes on, so an index is used by reservation: what is dropped meanwhile is overwritten by its last
user. All bookkeeping is on one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inference.knowledge.port import IndexNotReady
from schemas.objects.knowledge import SegmentEntry
from schemas.objects.state import KnowledgeState
from tenancy.errors import Refused, Transient
from tenancy.knowledge.published import read_segment, read_set
from tenancy.knowledge.search import Searchable
from tenancy.knowledge.segments import Segment, unpacked
from tenancy.platform.concurrency import OneOfEach, gathered
from tenancy.platform.recent_set import RecentSet
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

AT_ONCE = 4
"""Segments of one tenant that are read at once: each is in memory three times until it is opened."""


STAY_SECONDS = 30.0
"""An index that was opened stays so long at least, beside others that are larger than their share."""


class IndexTooLarge(Refused):
    """The tenant's index has more than this replica may hold."""

    def __init__(self) -> None:
        super().__init__("index-too-large", "refused: the tenant's index is larger than SANO_KNOWLEDGE_MIB")


class NoRoomForIndex(IndexNotReady):
    """Memory is in use by indexes that were opened a moment ago, and this one is larger than its share."""

    reason = "no-room"


OpenStore = Callable[[], Awaitable[TenantStore]]
"""Opens the tenant's store. Raises :class:`KeyDestroyed`."""


@dataclass(eq=False)
class _Opened:
    """One segment in memory, and how many searches use it."""

    segment: Segment
    users: int = 0
    is_dropped: bool = False

    def release(self) -> None:
        self.users -= 1
        self._overwrite_if_unused()

    def drop(self) -> None:
        self.is_dropped = True
        self._overwrite_if_unused()

    def _overwrite_if_unused(self) -> None:
        if self.is_dropped and self.users == 0:
            self.segment.overwrite()


@dataclass
class _Index:
    """What is open of one tenant."""

    searchable: Searchable
    state: KnowledgeState
    segments: dict[str, _Opened]
    opened_at: float
    used_at: float

    @property
    def size_bytes(self) -> int:
        return sum(opened.segment.size_bytes for opened in self.segments.values())


@dataclass
class LoadedIndexes:
    """The indexes of one replica: at most ``max_bytes`` of them, the least recently used ones dropped first."""

    max_bytes: int
    now: Callable[[], float] = time.monotonic
    _indexes: OrderedDict[TenantId, _Index] = field(default_factory=OrderedDict)
    _opening: OneOfEach = field(default_factory=OneOfEach)
    _leaving: dict[TenantId, list[_Opened]] = field(default_factory=dict)
    _gone: RecentSet[TenantId] = field(default_factory=RecentSet)
    _waiting: dict[TenantId, float] = field(default_factory=dict)  # until when nothing is read for them

    @asynccontextmanager
    async def used(self, tenant: TenantId, state: KnowledgeState, open_store: OpenStore) -> AsyncIterator[Searchable]:
        """The index that the tenant's state names, for one search. What it shares with the one before stays open, and
        the tenant's store, whose key all tenants share a service for, is opened only where something is read.

        Raises :class:`IndexTooLarge`, :class:`NoRoomForIndex`, what the store raises, and :class:`Refused` for a tenant
        that was removed here.
        """
        async with self._opening.of(tenant):
            index = self._indexes.get(tenant)
            if index is None or index.state.digest != state.digest:
                index = await self._opened(await open_store(), state, index)
            used = list(index.segments.values())
            for opened in used:  # no await since it was found: nobody can drop it before it is reserved
                opened.users += 1
            index.used_at = self.now()
            if tenant in self._indexes:
                self._indexes.move_to_end(tenant)
        try:
            yield index.searchable
        finally:
            for opened in used:
                opened.release()

    async def _opened(self, store: TenantStore, state: KnowledgeState, before: _Index | None) -> _Index:
        if state.size_bytes > self.max_bytes:
            raise IndexTooLarge  # before it is fetched; in memory it is somewhat larger
        now = self.now()
        self._waiting = {tenant: until for tenant, until in self._waiting.items() if until > now}
        if before is None and store.tenant in self._waiting:
            raise NoRoomForIndex(self._waiting[store.tenant] - now)
        held = await read_set(store, state)
        present = {} if before is None else dict(before.segments)

        async def read(entry: SegmentEntry) -> Segment:
            return await asyncio.to_thread(unpacked, await read_segment(store, entry))

        # What the index before shares with this one may be dropped, and overwritten, while the rest is read.
        searchable: Searchable | None = None
        while searchable is None:
            missing = [
                entry for entry in held.segments if entry.digest not in present or present[entry.digest].is_dropped
            ]
            if missing:
                opened = await gathered((read(entry) for entry in missing), at_once=AT_ONCE)
                present |= {entry.digest: _Opened(segment) for entry, segment in zip(missing, opened, strict=True)}
            segments = {entry.digest: present[entry.digest] for entry in held.segments}
            made = await asyncio.to_thread(Searchable.of, held, [one.segment for one in segments.values()])
            if not any(one.is_dropped for one in segments.values()):
                searchable = made
        if store.tenant in self._gone:
            self._drop(store.tenant, present)
            raise Refused("tenant-removed", "refused: the tenant is not served here any more")
        now = self.now()
        index = _Index(searchable, state, segments, now if before is None else before.opened_at, now)
        victims = self._victims(store.tenant, index.size_bytes)
        if victims is None:
            self._indexes.pop(store.tenant, None)
            self._drop(store.tenant, present)
            if index.size_bytes > self.max_bytes:
                raise IndexTooLarge
            self._waiting[store.tenant] = now + STAY_SECONDS
            raise NoRoomForIndex(STAY_SECONDS)
        for victim in victims:
            self._drop(victim, self._indexes.pop(victim).segments)
        self._drop(store.tenant, {digest: kept for digest, kept in present.items() if digest not in segments})
        self._indexes[store.tenant] = index
        return index

    def _victims(self, tenant: TenantId, size_bytes: int) -> list[TenantId] | None:
        """The tenants to evict for this index, the least recently used first; None if that is not enough."""
        others = {name: index for name, index in self._indexes.items() if name != tenant}
        share = self.max_bytes / (len(others) + 1)
        before = self.now() - STAY_SECONDS

        def is_evictable(index: _Index) -> bool:
            if size_bytes <= share:
                return index.size_bytes > share  # where there is too little room, one of these is open
            return index.opened_at <= before and (index.size_bytes > share or index.used_at <= before)

        missing = size_bytes + sum(index.size_bytes for index in others.values()) - self.max_bytes
        victims: list[TenantId] = []
        for name, index in others.items():
            if missing > 0 and is_evictable(index):
                victims.append(name)
                missing -= index.size_bytes
        return victims if missing <= 0 else None

    def _drop(self, tenant: TenantId, segments: dict[str, _Opened]) -> None:
        """Overwrite at once what no search uses; what one uses is overwritten at its end, and known until then."""
        for opened in segments.values():
            opened.drop()
        used = [opened for opened in (*self._leaving.pop(tenant, ()), *segments.values()) if opened.users]
        if used:
            self._leaving[tenant] = used

    async def drop_idle(self, idle_seconds: float) -> None:
        """Drop what nobody has searched for so long, so that texts do not stay in memory for ever."""
        until = self.now() - idle_seconds
        for tenant in [tenant for tenant, index in self._indexes.items() if index.used_at <= until]:
            self._drop(tenant, self._indexes.pop(tenant).segments)

    async def remove_tenant(self, tenant: TenantId) -> int:
        """Overwrite everything of a tenant that is not admitted any more; returns how many segments were open.

        Raises :class:`Transient` while a search uses one: it takes milliseconds.
        """
        self._gone.add(tenant)
        index = self._indexes.pop(tenant, None)
        segments = {} if index is None else index.segments
        self._drop(tenant, segments)
        if tenant in self._leaving:
            raise Transient("a search of the tenant's documents has not ended yet")
        return len(segments)

    def held_tenants(self) -> Collection[TenantId]:
        return tuple(self._indexes)
