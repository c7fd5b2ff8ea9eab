"""Defines the settings of the ledger consumer."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from consumers.runtime.settings import ConsumerSettings
from schemas.evidence.audit import CHECKPOINT_ENTRIES, CHECKPOINT_SECONDS
from tenancy.knowledge.database.settings import DatabaseSettings
from tenancy.platform.settings import DAY_SECONDS, KeyReference


class LedgerSettings(ConsumerSettings, DatabaseSettings):
    """With what, and how often, the audit logs are signed."""

    audit_key: KeyReference | None = Field(
        default=None, description="signs checkpoints of audit logs: a PEM file, or kms: and a key's id"
    )

    audit_checkpoint_entries: int = Field(
        default=CHECKPOINT_ENTRIES, ge=1, description="entries of a tenant after which to sign"
    )
    audit_checkpoint_seconds: float = Field(
        default=CHECKPOINT_SECONDS, gt=0.0, le=DAY_SECONDS, description="no entry stays unsigned longer"
    )
    price_file: Path | None = Field(default=None, description="YAML; absent: budgets are not compared with anything")
