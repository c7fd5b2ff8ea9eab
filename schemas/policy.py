"""What a tenant's contract decides. Policy is a value that travels with the tenant, never a constant in code."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.hyperparameters import Hyperparameters
from schemas.model import Contract


class TenantPolicy(Contract):
    """One tenant's contract, as far as this system acts on it."""

    # 8: a record of the tenant can survive 7 days, 1 hour and 6 minutes in a topic (schemas.topics), and a promise
    # that the topics cannot keep is none.
    deletion_sla_days: int = Field(default=30, ge=8, le=365, description="days from the purge request to certificate")
    require_consent: bool = Field(default=True, description="an example without a granted consent is never trained on")
    min_new_examples: int = Field(
        default=64, ge=1, le=1000, description="new eligible examples after which training is requested by itself"
    )
    min_training_examples: int = Field(default=8, ge=1, description="a smaller set is refused")
    automatic_training: bool = True
    activation: Literal["automatic", "manual"] = "automatic"
    hyperparameters: Hyperparameters = Hyperparameters()
