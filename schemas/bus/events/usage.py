"""Defines the event that reports a tenant's usage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.identifiers import OpaqueId
from schemas.base.integers import Amount, Count
from schemas.bus.events.base import USAGE, EventData

UsageSource = Literal["inference", "training", "storage"]


class UsageRecorded(EventData):
    """Reports what a tenant used: the basis of its cost."""

    type = "sano.usage.recorded"
    topic = USAGE

    usage_id: OpaqueId
    source: UsageSource
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    training_tokens: Count = 0
    engine_seconds: Amount = 0.0
    gpu_seconds: Amount = Field(default=0.0, description="not measured by any service of this release")
    bytes_stored: Count = Field(
        default=0, description="bytes written by this use; no event subtracts them when they are erased"
    )

    def natural_key(self) -> str:
        return self.usage_id
