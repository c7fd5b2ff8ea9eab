"""Settings of the purge consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings


class PurgeSettings(ConsumerSettings):
    """Nothing beyond what every consumer needs: the SLA is the tenant's, not the service's."""
