"""Settings of the ledger consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings


class LedgerSettings(ConsumerSettings):
    """Nothing beyond what every consumer needs."""
