"""Finds the tenants for which something is to be done, by markers: a look costs what is going on, not how many tenants
there are.

A marker is an empty object, ``work/<kind>/<tenant>/open``. Whoever makes work puts it *before* the write that makes
the work, each time as a new version. A look lists the versions first and reads the tenant's state afterwards. When it
finds nothing left it removes the versions that it listed and no others: what was put meanwhile stays.

Between a marker and the write that it announces there is nothing to be found yet. So a version is removed only by a
look that began ``quiesce_seconds`` after this process first saw it: by then the writer has written, or was cut off at
its deadline. Only a tenant that is fenced can have no such writer. Durations by this process's clock count, no times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from schemas.objects import object_keys
from schemas.objects.object_keys import WorkKind
from tenancy.errors import Refused
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tenancy.tenant_id import TenantId

Left = Literal["something", "nothing", "fenced"]
"""What a look leaves. ``fenced``: nothing, and nothing can come any more."""


async def announce(objects: ObjectStore, kind: WorkKind, tenant: TenantId) -> None:
    """Put the marker: to be called before the write that makes the work. One request."""
    await objects.put(object_keys.open_work(kind, tenant), b"")


@dataclass(frozen=True)
class Marked:
    """A tenant with a marker, the versions that were listed, and whether a writer may still be behind the latest."""

    tenant: TenantId
    versions: tuple[ObjectVersion, ...]
    is_fresh: bool


@dataclass
class OpenWork:
    """The markers of one kind of work. Any number of processes may look: each removes only what it has listed."""

    objects: ObjectStore
    kind: WorkKind
    quiesce_seconds: float
    now: Callable[[], float] = time.monotonic
    _seen: dict[TenantId, tuple[str, float]] = field(default_factory=dict, init=False)

    async def marked(self) -> list[Marked]:
        """Every tenant with a marker, in a random order, so that processes that look at once begin at others."""
        found: dict[TenantId, list[ObjectVersion]] = {}
        prefix = object_keys.open_work_prefix(self.kind)
        async for version in self.objects.versions(prefix):
            name = version.key.removeprefix(prefix).removesuffix("/open")
            try:
                tenant = TenantId(name)
            except Refused:
                continue  # not written by this system
            found.setdefault(tenant, []).append(version)
        now, before = self.now(), self._seen
        self._seen = {}
        for tenant, versions in found.items():
            latest = next((one.version_id for one in versions if one.is_latest), "")
            known, since = before.get(tenant, ("", now))
            self._seen[tenant] = (latest, since if known == latest else now)
        marked = [
            Marked(tenant, tuple(versions), now < self._seen[tenant][1] + self.quiesce_seconds)
            for tenant, versions in found.items()
        ]
        random.shuffle(marked)
        return marked

    async def tidy(self, marked: Marked, left: Left) -> None:
        """Remove what a look that began after :meth:`marked` found to be of no use any more; most often nothing."""
        if left == "fenced" or (left == "nothing" and not marked.is_fresh):
            await self.objects.delete_versions(marked.versions)
        else:
            await self.objects.delete_versions([version for version in marked.versions if not version.is_latest])
