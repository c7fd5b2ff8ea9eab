"""Settings of the purge consumer."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from consumers.purge.policy import PurgePolicy
from consumers.runtime.settings import ConsumerSettings


class PurgeSettings(ConsumerSettings):
    """Bounds of a purge. The deletion SLA is not here: it is the tenant's, not the service's."""

    purge_target_hours: float = Field(default=72.0, gt=0, description="what operations aim at, far below every SLA")

    def purge_policy(self) -> PurgePolicy:
        """The bounds that these settings ask for."""
        return PurgePolicy(
            settle_seconds=self.settle_seconds,
            late_write_seconds=self.late_write_seconds,
            replica_answer_seconds=self.replica_answer_seconds,
            target=timedelta(hours=self.purge_target_hours),
            stalled_seconds=10 * self.reconcile_seconds,
        )
