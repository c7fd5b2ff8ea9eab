"""Binds a verified tenant and the ``model`` that it names to the adapter that answers, and to nothing else."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.errors import no_such_model, not_active
from inference.tenants.budgets import require_within_budget
from inference.tenants.conversations import takes_part
from schemas.base.canonical import commitment
from schemas.base.identifiers import SHA256_PATTERN
from schemas.objects.state import AdapterState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, TenantFenced, UnknownTenant
from tenancy.platform.recent_set import RecentSet
from tenancy.state.archive import Archive, is_archived
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId

BASE = "base"
ACTIVE = "active"
VIEWS = 1024
"""States that are kept at most: some tens of kilobytes each."""


@dataclass
class TenantStateCache:
    """Tenants' states, at most ``ttl_seconds`` old. Events shorten that; ``block`` ends it for good.

    A stale view can only be one of the same tenant: it can name an adapter that was active a moment ago, never
    another tenant's.

    ``_blocked`` is for reads that began before the fence and end after it. Whatever is read later is fenced itself, for
    ever, so a tenant that this set has forgotten is refused all the same.
    """

    tenancy: Tenancy
    ttl_seconds: float
    now: Callable[[], float] = time.monotonic
    on_blocked: tuple[Callable[[TenantId], None], ...] = ()
    on_read: Callable[[TenantId, TenantState], None] = lambda tenant, state: None
    _held: dict[str, tuple[float, TenantState]] = field(default_factory=dict)
    _reading: dict[str, object] = field(default_factory=dict)
    _blocked: RecentSet[str] = field(default_factory=RecentSet)

    async def active(self, tenant: TenantId) -> TenantState:
        """The state, if the tenant is served. Raises :class:`RequestRefused` (403)."""
        if tenant in self._blocked:
            raise not_active()
        held = self._held.get(tenant)
        if held is not None and self.now() - held[0] <= self.ttl_seconds:
            return held[1]
        read_at = self.now()
        reading = self._reading[tenant] = object()
        try:
            state = require_active((await self.tenancy.states.read(tenant)).state)
        except (UnknownTenant, TenantFenced):
            self.forget(tenant)
            raise not_active() from None
        finally:
            # If not, it was forgotten meanwhile or is read anew, and what was read here may be the older state.
            is_latest = self._reading.get(tenant) is reading
            if is_latest:
                del self._reading[tenant]
        if tenant in self._blocked:
            raise not_active()  # blocked while the state was being read
        if is_latest:
            self._keep(tenant, read_at, state)
            self.on_read(tenant, state)
        return state

    async def spending(self, tenant: TenantId) -> TenantState:
        """The state, for a request that costs something. Raises :class:`RequestRefused` (403, 429)."""
        state = await self.active(tenant)
        require_within_budget(state, self.tenancy.clock())
        return state

    def _keep(self, tenant: TenantId, read_at: float, state: TenantState) -> None:
        """Keep the view, and those before it only as long as they may be used: this is no table of all tenants."""
        self._held.pop(tenant, None)
        self._held[tenant] = (read_at, state)
        while self._held:
            oldest = next(iter(self._held))
            if len(self._held) <= VIEWS and self.now() - self._held[oldest][0] <= self.ttl_seconds:
                break
            del self._held[oldest]

    async def adapter(self, tenant: TenantId, model: object, conversation: Callable[[], bytes]) -> str | None:
        """The digest that answers, None for the base model; with a canary the conversation decides.

        Raises :class:`RequestRefused` (403, 404).

        ``active`` without an active adapter is the base model; a digest that is not this tenant's is nothing at all.
        """
        state = await self.active(tenant)
        if model is None or model == ACTIVE:
            if state.canary is not None and takes_part(state.canary, conversation()):
                return state.canary.adapter_digest
            return state.active_adapter
        if model == BASE:
            return None
        adapter = await self._own(tenant, state, model) if isinstance(model, str) else None
        if adapter is None or adapter.status != "ready":
            raise no_such_model()
        return str(model)

    def require_admitted(self, tenant: TenantId) -> None:
        """For a request that has waited, and its tenant may be fenced. Raises :class:`RequestRefused` (403)."""
        if tenant in self._blocked:
            raise not_active()

    async def _own(self, tenant: TenantId, state: TenantState, digest: str) -> AdapterState | None:
        """The tenant's adapter. An older one is looked up under the tenant's prefix, where no other tenant's lies.

        The tenant's key is opened only where there is one: whoever asks for digests at random costs a request to the
        store for each, and none to the master key, which all tenants share.
        """
        if re.fullmatch(SHA256_PATTERN, digest) is None or digest in state.adapters:
            return state.adapters.get(digest)
        if not await is_archived(self.tenancy.objects, tenant, digest):
            return None
        try:
            store = await self.tenancy.store(tenant)
        except KeyDestroyed:
            raise not_active() from None
        return await Archive(store).adapter(digest)

    def forget(self, tenant: TenantId) -> None:
        """The next request reads the state anew."""
        self._held.pop(tenant, None)
        self._reading.pop(tenant, None)

    def block(self, tenant: TenantId) -> None:
        """Admit nothing of this tenant any more, the first step of its eviction."""
        self._blocked.add(tenant)
        self.forget(tenant)
        for forget in self.on_blocked:
            forget(tenant)


@dataclass(frozen=True)
class Salts:
    """The engine's cache salt: no prefix of one tenant or adapter is ever found for another.

    No two pairs run together. The key lives as long as the process, as the cache does.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def salt(self, tenant: str, adapter: str | None) -> str:
        return commitment(self.key, [tenant, adapter or BASE])
