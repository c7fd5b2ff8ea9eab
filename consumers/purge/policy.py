"""Defines the bounds of a purge as one value. The deletion SLA is not among them: it is the tenant's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from consumers.runtime.policy import HANDLING
from schemas.tenant.policy import waits_until
from tenancy.platform.settings import CLOCK_SKEW_SECONDS


@dataclass(frozen=True)
class PurgePolicy:
    """Fields that end in ``_seconds`` are numbers of seconds; every other bound is a ``timedelta``.

    ``quiesce_seconds``: after a fence and this long no handler and no worker with an ordinary lease can still write.
    ``deadline_seconds``: how long the purge itself writes under the tenant's prefix at a stretch, as a handler may.
    ``late_write_seconds``: how long one read or write can go on after its lease; added to leases that are longer.
    ``replica_answer_seconds``: how long a live replica may take to acknowledge before it is cut off its lease.
    ``target``: what operations aim at, far below every SLA.
    ``subcontractors``: who else holds tenants' data, as the operator declares it. ``confirmation_wait``: how long after
    the fence a certificate waits for those that have not confirmed; it never costs the last day of an SLA.
    ``backups_kept``: how long the operator's copies of the bucket keep what was deleted, where it declares that.
    ``topic_retention``: days, or unlimited, that the topics named keep their events (:mod:`schemas.bus.retention`).
    """

    quiesce_seconds: float
    deadline_seconds: float = HANDLING.deadline_seconds
    late_write_seconds: float = CLOCK_SKEW_SECONDS
    replica_answer_seconds: float = 300.0
    target: timedelta = timedelta(hours=72)
    subcontractors: tuple[str, ...] = ()
    confirmation_wait: timedelta = timedelta()
    backups_kept: timedelta | None = None
    topic_retention: Mapping[str, int | Literal["unlimited"]] = field(default_factory=dict)

    def confirmations_until(self, fenced_at: datetime, deadline: datetime) -> datetime | None:
        """When a certificate waits for no subcontractor any more; None where it never does."""
        if not self.subcontractors or not self.confirmation_wait:
            return None
        return waits_until(fenced_at, self.confirmation_wait, deadline)
