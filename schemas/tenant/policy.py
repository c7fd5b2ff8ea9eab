"""What a tenant's contract decides. Policy is a value that travels with the tenant, never a constant in code."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.tenant.hyperparameters import Hyperparameters

KEPT_FOR_DELETION = timedelta(days=1)
"""The last part of a deletion SLA. No wait of a purge, whoever it waits for, goes on into it."""


class TenantPolicy(Contract):
    """One tenant's contract, as far as this system acts on it."""

    baa_reference: OpaqueId | None = Field(
        default=None, description="which contract this is: an opaque reference, repeated by the certificate of purge"
    )
    # 8: a record of the tenant can survive 7 days, 1 hour and 6 minutes in a topic (schemas.bus.topics), and a promise
    # that the topics cannot keep is none.
    deletion_sla_days: int = Field(default=30, ge=8, le=365, description="days from the purge request to certificate")
    right_of_export: bool = Field(
        default=False, description="a purge first hands the active adapter over, and waits for the tenant to take it"
    )
    export_wait_days: int = Field(
        default=7, ge=1, le=364, description="how long a purge waits for the tenant to take its export"
    )
    require_consent: bool = Field(default=True, description="an example without a granted consent is never trained on")
    min_new_examples: int = Field(
        default=64, ge=1, le=1000, description="new eligible examples after which training is requested by itself"
    )
    min_training_examples: int = Field(default=8, ge=1, le=1_000_000, description="a smaller set is refused")
    automatic_training: bool = Field(default=True, description="a batch of new examples is trained on by itself")
    on_withdrawal: Literal["flag", "retrain", "stop"] = Field(
        default="retrain",
        description="what becomes of adapters that contain a withdrawn example: listed; replaced and retired; retired",
    )
    retrain_within_days: int = Field(
        default=30, ge=1, le=365, description="such an adapter is retired by then, with or without a replacement"
    )
    activation: Literal["automatic", "manual"] = Field(
        default="automatic", description="who makes a new adapter the active one"
    )
    hyperparameters: Hyperparameters = Hyperparameters()

    @property
    def keeps_its_promise(self) -> bool:
        """Whether waiting for the tenant to take its export leaves time for the deletion that is promised to it.

        Not a rule of the schema: what says so in an event that exists already must still be readable.
        """
        return not self.right_of_export or self.export_wait_days < self.deletion_sla_days

    @property
    def export_wait(self) -> timedelta:
        """How long a purge waits for the tenant; shorter than the deletion SLA in any case."""
        return min(timedelta(days=self.export_wait_days), timedelta(days=self.deletion_sla_days) - KEPT_FOR_DELETION)


def waits_until(since: datetime, wait: timedelta, deadline: datetime) -> datetime:
    """When a purge that has begun to wait goes on at the latest. The deletion SLA wins."""
    return min(since + wait, deadline - KEPT_FOR_DELETION)
