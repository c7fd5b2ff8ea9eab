"""Derives the ids of commands that services issue automatically because an earlier event calls for them.

People issue commands of the same types. A service's command has an id derived from its cause. That id is the event's
identity, so every publisher of it publishes the same event.
"""

from __future__ import annotations

import re

from schemas.bus.envelope import Event, event_id
from schemas.bus.events import PurgeRequested, TenantChurned, TrainingRequested


def batch_run_id(batch: int) -> str:
    """The run that a tenant's n-th batch requests; deterministic, so the request is idempotent."""
    return f"batch-{batch}"


def retraining_run_id(withdrawal_id: str) -> str:
    """The run that a withdrawal requests."""
    return f"retrain-{withdrawal_id}"


def churn_id(tenant: str) -> str:
    """The event that ends the contract: a tenant has one."""
    return event_id(TenantChurned.type, tenant, "churned")


def churn_purge_id(tenant: str) -> str:
    """The purge that a churn requests; deterministic, so a redelivered churn requests the same one."""
    return f"purge-{event_id(PurgeRequested.type, tenant, 'churned')}"


def follows_by_itself(event: Event) -> bool:
    """Whether a service issued this command automatically. A named cause is not enough: anybody may name one."""
    data, cause = event.data, event.causation_id
    if isinstance(data, PurgeRequested):
        return (data.purge_id, cause) == (churn_purge_id(event.subject), churn_id(event.subject))
    if isinstance(data, TrainingRequested) and data.trigger == "policy" and cause is not None:
        # Which decision completed a batch nobody can tell from the ids. But there is one n-th batch of a tenant.
        return data.run_id == retraining_run_id(cause) or re.fullmatch(r"batch-[1-9]\d*", data.run_id) is not None
    return False
