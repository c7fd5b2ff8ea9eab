"""Defines the settings of the export consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings


class ExportSettings(ConsumerSettings):
    """Nothing beyond what every consumer needs."""
