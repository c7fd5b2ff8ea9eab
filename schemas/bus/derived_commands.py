"""Commands that services give by themselves, since an earlier event asks for them.

People give commands of the same types. Those of services have ids that follow from what they follow from, and such an
id is the event's identity: whoever publishes it publishes the same event.
"""

from __future__ import annotations

import re

from schemas.bus.envelope import Event, event_id
from schemas.bus.events import PurgeRequested, TenantChurned, TrainingRequested


def batch_run_id(batch: int) -> str:
    """The run that a tenant's n-th batch asks for; deterministic, so that asking twice is asking once."""
    return f"batch-{batch}"


def retraining_run_id(withdrawal_id: str) -> str:
    """The run that a withdrawal asks for."""
    return f"retrain-{withdrawal_id}"


def churn_id(tenant: str) -> str:
    """The event that says that the contract ended: a tenant has one."""
    return event_id(TenantChurned.type, tenant, "churned")


def churn_purge_id(tenant: str) -> str:
    """The purge that a churn asks for; deterministic, so that a redelivered churn asks for the same one."""
    return f"purge-{event_id(PurgeRequested.type, tenant, 'churned')}"


def follows_by_itself(event: Event) -> bool:
    """Whether it is a command that a service gives. That it names a cause is not enough: anybody may name one."""
    data, cause = event.data, event.causation_id
    if isinstance(data, PurgeRequested):
        return (data.purge_id, cause) == (churn_purge_id(event.subject), churn_id(event.subject))
    if isinstance(data, TrainingRequested) and data.trigger == "policy" and cause is not None:
        # Which decision completed a batch nobody can tell from the ids. But there is one n-th batch of a tenant.
        return data.run_id == retraining_run_id(cause) or re.fullmatch(r"batch-[1-9]\d*", data.run_id) is not None
    return False
