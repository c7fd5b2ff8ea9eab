"""Defines the event that reports the outcome of handling an event."""

from __future__ import annotations

from pydantic import Field

from schemas.base.identifiers import Delivery, EventTypeName, OpaqueId
from schemas.bus.events.base import OUTCOMES, EventData
from schemas.bus.outcome import Outcome


class OutcomeRecorded(EventData):
    """One consumer handled one event, with this outcome."""

    type = "sano.outcome.recorded"
    topic = OUTCOMES
    identified_by = ("consumer", "event_id", "delivery")

    event_id: OpaqueId
    event_type: EventTypeName
    consumer: OpaqueId
    outcome: Outcome
    delivery: Delivery = Field(description="<topic>/<partition>/<offset> of the handled message")
    replay_id: OpaqueId | None = None
