"""What a tenant used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.identifiers import OpaqueId
from schemas.base.integers import Amount, Count
from schemas.bus.events.base import USAGE, EventData

UsageSource = Literal["inference", "training", "storage"]


class UsageRecorded(EventData):
    """What a tenant used: the base of its cost."""

    type = "sano.usage.recorded"
    topic = USAGE

    usage_id: OpaqueId
    source: UsageSource
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    training_tokens: Count = 0
    engine_seconds: Amount = 0.0
    gpu_seconds: Amount = Field(default=0.0, description="no service of this release measures it")
    bytes_stored: Count = Field(
        default=0, description="bytes that this use wrote; no event takes them off when they are erased"
    )

    def natural_key(self) -> str:
        return self.usage_id
