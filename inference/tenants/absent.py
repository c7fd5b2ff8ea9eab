"""Caches missing adapters for a moment, so that a repeated request for one costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tenancy.tenant_id import TenantId

ABSENT_SECONDS = 1.0
"""An adapter that is published right after it was asked for is found so much later at the latest."""
ABSENT_DIGESTS = 64
"""Of one tenant, which can so push out nobody's but its own."""


@dataclass
class AbsentAdapters:
    """Digests that were looked for and not found, each under its tenant: whose adapter it is otherwise says nothing.

    What is too old goes with the next note, so that there are at most :data:`ABSENT_DIGESTS` for each tenant that
    asked within :data:`ABSENT_SECONDS`.
    """

    now: Callable[[], float] = time.monotonic
    _noted: dict[TenantId, dict[str, float]] = field(default_factory=dict)  # each in the order of the latest note

    def holds(self, tenant: TenantId, digest: str) -> bool:
        """Whether the tenant's adapter was looked for a moment ago, and there was none."""
        noted = self._noted.get(tenant, {}).get(digest)
        return noted is not None and self.now() - noted <= ABSENT_SECONDS

    def note(self, tenant: TenantId, digest: str) -> None:
        """It was looked for, and there is none."""
        own = self._noted.pop(tenant, {})
        own.pop(digest, None)
        own[digest] = self.now()
        if len(own) > ABSENT_DIGESTS:
            del own[next(iter(own))]
        self._noted[tenant] = own
        while self.now() - max(self._noted[oldest := next(iter(self._noted))].values()) > ABSENT_SECONDS:
            del self._noted[oldest]

    def forget(self, tenant: TenantId) -> None:
        """Look for each of the tenant's adapters anew."""
        self._noted.pop(tenant, None)
