"""Settings of the adapters consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings


class AdaptersSettings(ConsumerSettings):
    """Nothing beyond what every consumer needs."""
