"""Finds the tenants for which something is to be done, by markers: a look costs what is going on, not how many tenants
there are.

A marker is an empty object, ``work/<kind>/<tenant>/open``. Whoever makes work puts it *before* the write that makes
the work, each time as a new version. A look lists the versions first and reads the tenant's state afterwards. When it
finds nothing left it removes the versions that it listed and no others: what was put meanwhile stays.

Between a marker and the write that it announces there is nothing to be found yet. So a version is removed only by a
look that began ``quiesce_seconds`` after this process first saw it: by then the writer has written, or was cut off at
its deadline. Only a tenant that is fenced can have no such writer. Durations by this process's clock count, no times.

The processes of a service share the tenants out by :attr:`OpenWork.owns`. That spares work and decides nothing: while
shares move two may look at one tenant, and each step is a compare-and-swap.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from schemas.objects import object_keys
from schemas.objects.object_keys import WorkKind
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tenancy.tenant_id import TenantId

LOOKS_AT_ONCE = 8
"""Tenants that one process looks at side by side: one that takes long must not hold up the others."""
SPARED_SECONDS = 60.0
"""For so long an :class:`Announcer` does not repeat itself."""

Left = Literal["something", "nothing", "fenced"]
"""What a look leaves. ``fenced``: nothing, and nothing can come any more."""


def everybody(tenant: TenantId) -> bool:
    """The share of a process that is alone."""
    return True


async def announce(objects: ObjectStore, kind: WorkKind, tenant: TenantId) -> None:
    """Put the marker: to be called before the write that makes the work. One request."""
    await objects.put(object_keys.open_work(kind, tenant), b"")


async def markers(objects: ObjectStore, kind: WorkKind) -> dict[TenantId, list[ObjectVersion]]:
    """The versions of each tenant's marker. A request for each thousand."""
    found: dict[TenantId, list[ObjectVersion]] = {}
    prefix = object_keys.open_work_prefix(kind)
    async for version in objects.versions(prefix):
        name = version.key.removeprefix(prefix).removesuffix("/open")
        try:
            tenant = TenantId(name)
        except Refused:
            continue  # not written by this system
        found.setdefault(tenant, []).append(version)
    return found


@dataclass
class Announcer:
    """Announces what comes often, such as entries of audit logs: once in :data:`SPARED_SECONDS` for each tenant.

    A spared announcement is made up for by whoever looks, who keeps each marker for that much longer.
    """

    objects: ObjectStore
    kind: WorkKind
    now: Callable[[], float] = time.monotonic
    _announced: OrderedDict[TenantId, float] = field(default_factory=OrderedDict, init=False)

    async def announce(self, tenant: TenantId) -> None:
        began = self.now()
        while self._announced and next(iter(self._announced.values())) + SPARED_SECONDS <= began:
            self._announced.popitem(last=False)
        if tenant not in self._announced:
            await announce(self.objects, self.kind, tenant)
            self._announced[tenant] = began


@dataclass(frozen=True)
class Marked:
    """A tenant with a marker, the versions that were listed, and whether a writer may still be behind the latest.

    ``is_own``: it is of this process's share.
    """

    tenant: TenantId
    versions: tuple[ObjectVersion, ...]
    is_fresh: bool
    is_own: bool = True


@dataclass
class OpenWork:
    """The markers of one kind of work. Any number of processes may look: each removes only what it has listed."""

    objects: ObjectStore
    kind: WorkKind
    quiesce_seconds: float
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    _seen: dict[TenantId, tuple[str, float]] = field(default_factory=dict, init=False)
    _under_way: set[TenantId] = field(default_factory=set, init=False)

    async def marked(self) -> list[Marked]:
        """Every tenant with a marker, in a random order."""
        found = await markers(self.objects, self.kind)
        now, before = self.now(), self._seen
        self._seen = {}
        for tenant, versions in found.items():
            latest = next((one.version_id for one in versions if one.is_latest), "")
            known, since = before.get(tenant, ("", now))
            self._seen[tenant] = (latest, since if known == latest else now)
        marked = [
            Marked(
                tenant, tuple(versions), now < self._seen[tenant][1] + self.quiesce_seconds, is_own=self.owns(tenant)
            )
            for tenant, versions in found.items()
        ]
        random.shuffle(marked)
        return marked

    async def reconcile(self, at: Callable[[TenantId], Awaitable[Left]]) -> None:
        """Look ``at`` each marked tenant of this process's share, side by side, and remove the markers that are of no
        use any more. ``at`` raises nothing. A marker that cannot be removed holds up no other tenant.
        """
        failures: list[Exception] = []

        async def one(marked: Marked) -> None:
            with self.alone(marked.tenant) as is_alone:
                if not is_alone:
                    return
                left = await at(marked.tenant)
                try:
                    await self.tidy(marked, left)
                except Exception as error:
                    failures.append(error)

        own = [marked for marked in await self.marked() if marked.is_own]
        await gathered((one(marked) for marked in own), at_once=LOOKS_AT_ONCE)
        if failures:
            raise failures[0]

    @contextmanager
    def alone(self, tenant: TenantId) -> Iterator[bool]:
        """Whether no earlier look of this process is still at the tenant; none begins before this one ends."""
        is_alone = tenant not in self._under_way
        self._under_way.add(tenant)
        try:
            yield is_alone
        finally:
            if is_alone:
                self._under_way.discard(tenant)

    async def tidy(self, marked: Marked, left: Left) -> None:
        """Remove what a look that began after :meth:`marked` found to be of no use any more; most often nothing."""
        if left == "fenced" or (left == "nothing" and not marked.is_fresh):
            await self.objects.delete_versions(marked.versions)
        else:
            await self.objects.delete_versions([version for version in marked.versions if not version.is_latest])
