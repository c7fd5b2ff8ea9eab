"""Lists the sweep targets: the prefixes of the registry's swept stores, each listed and emptied as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from schemas.objects import object_keys
from schemas.stores.registry import UndeclaredStore, store_of_key, swept
from tenancy.storage.objects import ObjectStore, ObjectVersion, Upload

STRAYS = "objects.strays"


@dataclass(frozen=True)
class SweepTarget:
    """A place in the bucket that can hold a tenant's data. ``keeps_current``: only superseded versions go."""

    name: str
    prefix: str
    keeps_current: bool = False
    _known: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    def is_doomed(self, version: ObjectVersion) -> bool:
        return not (self.keeps_current and version.is_latest and not version.is_delete_marker)

    async def versions(self, objects: ObjectStore, key: str = "") -> AsyncIterator[ObjectVersion]:
        """What is to go from here, or only of ``key``, in the order of keys."""
        async for version in objects.versions(key or self.prefix):
            if self.is_doomed(version) and key in ("", version.key):
                yield version

    async def uploads(self, objects: ObjectStore, key: str = "") -> AsyncIterator[Upload]:
        """As :meth:`versions`, of open uploads."""
        async for upload in objects.uploads(key or self.prefix):
            if key in ("", upload.key):
                yield upload

    def store_of(self, key: str) -> str:
        """The registry's name for what lies there, looked up once for each folder: there can be very many keys."""
        parts = key.split("/")
        folder = (*parts[:3], str(len(parts) > 3))
        if folder not in self._known:
            try:
                self._known[folder] = store_of_key(key, is_current=not self.keeps_current).name
            except UndeclaredStore:
                self._known[folder] = STRAYS
        return self._known[folder]

    def stores(self) -> tuple[str, ...]:
        """All stores of the registry that can lie here."""
        tenant = self.prefix.split("/")[2 if self.prefix.startswith(object_keys.WORK_PREFIX) else 1]
        return tuple(s.name for s in swept() if s.where.replace("{tenant}", tenant).startswith(self.prefix))


def key_root(tenant: str) -> SweepTarget:
    """The wrapped data key."""
    return SweepTarget("key", object_keys.key_key(tenant))


def states_root(tenant: str) -> SweepTarget:
    """The states that were superseded."""
    return SweepTarget("states", object_keys.state_key(tenant), keeps_current=True)


def roots(tenant: str) -> tuple[SweepTarget, ...]:
    """All of them."""
    work = (
        SweepTarget(f"work.{kind}", object_keys.open_work_of(kind, tenant)) for kind in object_keys.WORK_OF_THE_LIVING
    )
    return (SweepTarget("objects", object_keys.tenant_prefix(tenant)), key_root(tenant), states_root(tenant), *work)
