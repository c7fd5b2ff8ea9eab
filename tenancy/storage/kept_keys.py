"""Keeps keys that are derived from tenants' data keys, from each tenant's first use until it is fenced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tenancy.storage.keys import KeyRing, TenantKeys
from tenancy.tenant_id import TenantId

KEYS = 4096
"""Kept at most, 32 or 64 bytes each."""

KeyT = TypeVar("KeyT")


@dataclass
class KeptKeys(Generic[KeyT]):
    """``require_admitted`` raises where a tenant is fenced, of which no key is kept then. On one event loop."""

    keys: KeyRing
    derive: Callable[[TenantKeys], KeyT]
    require_admitted: Callable[[TenantId], None]
    _held: dict[TenantId, KeyT] = field(default_factory=dict, repr=False)  # in the order of opening

    def get(self, tenant: TenantId) -> KeyT | None:
        """The tenant's key where it is kept."""
        return self._held.get(tenant)

    async def of(self, tenant: TenantId) -> KeyT:
        """The tenant's key, opened where it is not kept: a call of the master key for each use would be too many, and
        all tenants share it. Raises as :meth:`KeyRing.open` and ``require_admitted`` do.
        """
        key = self._held.get(tenant)
        if key is None:
            keys = await self.keys.open(tenant)
            self.require_admitted(tenant)  # it may have been fenced meanwhile
            key = self._held[tenant] = self.derive(keys)
            while len(self._held) > KEYS:
                del self._held[next(iter(self._held))]
        return key

    def forget(self, tenant: TenantId) -> None:
        """Drop the key of a tenant that is fenced."""
        self._held.pop(tenant, None)
