"""Defines the settings of the purge consumer."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from consumers.purge.policy import PurgePolicy
from consumers.runtime.settings import ConsumerSettings
from schemas.base.identifiers import REASON_CODE_PATTERN
from tenancy.knowledge.database.settings import DatabaseSettings
from tenancy.platform.settings import KeyReference

SUBCONTRACTOR = REASON_CODE_PATTERN.strip("^$")
MAX_DAYS = 3650


class PurgeSettings(ConsumerSettings, DatabaseSettings):
    """Bounds of a purge. The deletion SLA is not here: it is the tenant's, not the service's."""

    certificate_key: KeyReference | None = Field(
        default=None, description="signs certificates of purge: a PEM file, or kms: and a key's id"
    )
    audit_key: KeyReference | None = Field(
        default=None, description="signs checkpoints of audit logs: a PEM file, or kms: and a key's id"
    )
    purge_target_hours: float = Field(
        default=72.0, gt=0, le=MAX_DAYS * 24, description="what operations aim at, far below every SLA"
    )

    subcontractors: str | None = Field(
        default=None,
        pattern=rf"^{SUBCONTRACTOR}(?:,{SUBCONTRACTOR})*$",
        description="codes of those who hold tenants' data for the operator, comma-separated",
    )
    confirmation_wait_days: float = Field(
        default=0.0,
        ge=0,
        le=MAX_DAYS,
        description="how long a certificate waits for subcontractors that have not confirmed",
    )
    backup_days: float | None = Field(
        default=None,
        ge=0,
        le=MAX_DAYS,
        description="how long the operator's copies of the bucket keep what was deleted",
    )

    def purge_policy(self) -> PurgePolicy:
        """The bounds that these settings ask for."""
        return PurgePolicy(
            quiesce_seconds=self.quiesce_seconds,
            deadline_seconds=self.handler_deadline_seconds,
            late_write_seconds=self.late_write_seconds,
            replica_answer_seconds=self.replica_answer_seconds,
            target=timedelta(hours=self.purge_target_hours),
            subcontractors=tuple(dict.fromkeys(self.subcontractors.split(","))) if self.subcontractors else (),
            confirmation_wait=timedelta(days=self.confirmation_wait_days),
            backups_kept=None if self.backup_days is None else timedelta(days=self.backup_days),
            topic_retention=self.retention,
        )
