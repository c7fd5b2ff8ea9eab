"""Defines the settings of the curation consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings


class CurationSettings(ConsumerSettings):
    """Nothing beyond what every consumer needs."""
