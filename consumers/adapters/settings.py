"""Defines the settings of the adapters consumer."""

from __future__ import annotations

from pydantic import Field

from consumers.runtime.settings import ConsumerSettings
from tenancy.platform.settings import KeyReference


class AdaptersSettings(ConsumerSettings):
    """Adds the key that signs receipts of withdrawals."""

    certificate_key: KeyReference | None = Field(
        default=None, description="signs receipts of withdrawals: a PEM file, or kms: and a key's id"
    )
