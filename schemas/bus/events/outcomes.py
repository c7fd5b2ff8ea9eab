"""What each handling of an event came to."""

from __future__ import annotations

from pydantic import Field

from schemas.base.identifiers import Delivery, EventTypeName, OpaqueId
from schemas.bus.events.base import OUTCOMES, EventData
from schemas.bus.outcome import Outcome


class OutcomeRecorded(EventData):
    """What one consumer's handling of one event came to."""

    type = "sano.outcome.recorded"
    topic = OUTCOMES

    event_id: OpaqueId
    event_type: EventTypeName
    consumer: OpaqueId
    outcome: Outcome
    delivery: Delivery = Field(description="<topic>/<partition>/<offset> of the handled message")
    replay_id: OpaqueId | None = None

    def natural_key(self) -> str:
        return f"{self.consumer}|{self.event_id}|{self.delivery}"
