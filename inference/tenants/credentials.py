"""Turns what a caller presents into a tenant and what it may do: a token of the installation or of the tenant's
identity provider, or an API key.

Whatever is wrong with it, the answer is the same: whether a tenant exists, is purged, or has other keys, is told to
nobody. A key or a provider's token names its tenant, whose state says whether it counts, so strangers could make a
replica read states at will: names without a tenant are remembered for a moment, few are looked up at a time, and few
wait for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.errors import RequestRefused, no_scope, unauthorized
from inference.tenants.admission import Looks
from inference.tenants.binding import TenantStateCache
from inference.tenants.known_providers import KnownProviders
from inference.tenants.provider_tokens import ProviderToken
from schemas.objects.state import TenantState
from schemas.tenant.api_keys import SCOPES, Scope
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.recent_set import RecentSet
from tenancy.state.api_keys import PREFIX, GivenKey, verified
from tenancy.tenant_id import TenantId
from tenancy.tokens import BadToken, TokenVerifier

UNKNOWN_SECONDS = 2.0
UNKNOWN = 4096


@dataclass(frozen=True)
class Caller:
    """A verified tenant, and what its credential is good for."""

    tenant: TenantId
    scopes: frozenset[Scope] = frozenset(SCOPES)

    def require(self, scope: Scope) -> None:
        """Raises :class:`RequestRefused` (403)."""
        if scope not in self.scopes:
            raise no_scope(scope)


@dataclass
class Credentials:
    """Verifies credentials. ``views`` are asked for at each request: they are there once the engine runs."""

    tokens: TokenVerifier
    clock: Clock = utc_now
    now: Callable[[], float] = time.monotonic
    providers: KnownProviders = field(default_factory=KnownProviders)
    _known: RecentSet[TenantId] = field(default_factory=RecentSet)
    _unknown: dict[TenantId, float] = field(default_factory=dict)  # in the order of looking
    _looking: Looks = field(default_factory=Looks)  # of tenants with which nobody has come with a valid key

    def of_token(self, presented: str) -> Caller:
        """The caller of a token. Raises :class:`RequestRefused` (401)."""
        try:
            return Caller(self.tokens.tenant(presented))
        except BadToken:
            raise unauthorized() from None

    @staticmethod
    def is_key(presented: str) -> bool:
        """Whether it is to be a key, and not a token."""
        return presented.startswith(PREFIX)

    async def of_key(self, presented: str, views: TenantStateCache) -> Caller:
        """The caller of an API key. Raises :class:`RequestRefused` (401, 503)."""
        given = GivenKey.parse(presented)
        if given is None:
            raise unauthorized()
        key = verified(given, await self._state(given.tenant, views), self.clock())
        if key is None:
            raise unauthorized()
        self._known.add(given.tenant)
        return Caller(given.tenant, frozenset(key.scopes))

    async def of_provider(self, token: ProviderToken, views: TenantStateCache) -> Caller:
        """The caller of a token of the tenant's identity provider. Raises :class:`RequestRefused` (401, 503)."""
        state = await self._state(token.tenant, views)
        provider = None if state is None else state.identity_provider
        if provider is None or not token.is_for(provider):
            raise unauthorized()
        key = await self.providers.key(provider.issuer, token.kid)
        if key is None or not token.is_good(key, provider, self.clock()):
            raise unauthorized()
        # Asked for anew: another may have been set, or the tenant fenced, while the keys were fetched.
        latest = await self._state(token.tenant, views)
        if latest is None or latest.identity_provider != provider:
            raise unauthorized()
        self._known.add(token.tenant)
        return Caller(token.tenant, frozenset(provider.scopes))

    async def _state(self, tenant: TenantId, views: TenantStateCache) -> TenantState | None:
        if tenant in self._known:
            return await self._active(tenant, views)
        async with self._looking.one():
            looked_at = self._unknown.get(tenant)
            if looked_at is not None and self.now() - looked_at <= UNKNOWN_SECONDS:
                return None
            state = await self._active(tenant, views)
            if state is None:
                self._note_unknown(tenant)
            return state

    async def _active(self, tenant: TenantId, views: TenantStateCache) -> TenantState | None:
        try:
            return await views.active(tenant)
        except RequestRefused:
            return None

    def _note_unknown(self, tenant: TenantId) -> None:
        self._unknown.pop(tenant, None)
        self._unknown[tenant] = self.now()
        if len(self._unknown) > UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
