"""Keeps the keys of identity providers, and decides when they are fetched anew.

A replica refuses a key that its provider has taken back within ten minutes, and within an hour where the provider does
not answer. An unknown ``kid`` asks the issuer at once, at most once a minute over all callers. Only callers of that
issuer wait for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from inference.tenants.provider_keys import KeysUnavailable, ProviderKey, fetched_keys
from tenancy.platform.logs import SCOPE

logger = logging.getLogger(f"{SCOPE}.inference")

PAUSE_SECONDS = 60.0
SOON_SECONDS = 300.0
"""Older keys are fetched anew while they are used still."""
FRESH_SECONDS = 600.0
"""Older keys are used only if the provider was asked anew, and did not answer."""
KEPT_SECONDS = 3600.0
"""Older keys are not used."""
ISSUERS = 1024

Fetch = Callable[[str], Awaitable[Mapping[str, ProviderKey]]]


@dataclass
class _Provider:
    """``asked_at`` is when its keys were asked for last, ``answered_at`` when they came."""

    keys: Mapping[str, ProviderKey] = field(default_factory=dict)
    answered_at: float = float("-inf")
    asked_at: float = float("-inf")
    asking: asyncio.Task[None] | None = None


@dataclass
class KnownProviders:
    """The keys by issuer: an issuer's ``kid`` is looked for among its own keys only."""

    fetch: Fetch = fetched_keys
    now: Callable[[], float] = time.monotonic
    _providers: dict[str, _Provider] = field(default_factory=dict)  # in the order of the last question

    async def key(self, issuer: str, kid: str) -> ProviderKey | None:
        """The issuer's key of this name, None where it has none or does not answer."""
        provider = self._providers.get(issuer) or _Provider()
        age = self.now() - provider.answered_at
        if kid not in provider.keys or age > FRESH_SECONDS:
            if (asking := self._ask(issuer, provider)) is not None:
                await asyncio.wait([asking])  # which goes on, for the others, where this caller goes away
        elif age > SOON_SECONDS:
            self._ask(issuer, provider)
        if self.now() - provider.answered_at > KEPT_SECONDS:
            return None
        return provider.keys.get(kid)

    def _ask(self, issuer: str, provider: _Provider) -> asyncio.Task[None] | None:
        """The question that is under way, or a new one; None where the last one is too recent."""
        if provider.asking is None and self.now() - provider.asked_at >= PAUSE_SECONDS:
            provider.asked_at = self.now()
            self._providers.pop(issuer, None)
            self._providers[issuer] = provider
            if len(self._providers) > ISSUERS:
                del self._providers[next(iter(self._providers))]
            provider.asking = asyncio.create_task(self._asked(issuer, provider))
        return provider.asking

    async def _asked(self, issuer: str, provider: _Provider) -> None:
        try:
            provider.keys = await self.fetch(issuer)
            provider.answered_at = self.now()
        except KeysUnavailable as unavailable:
            digest = hashlib.sha256(issuer.encode()).hexdigest()[:16]
            logger.warning("provider keys not fetched", extra={"reason": unavailable.code, "issuer_sha256": digest})
        finally:
            provider.asking = None
