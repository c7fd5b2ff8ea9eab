"""Declares which principal publishes which event types: services, operators, and publishers from outside.

Kafka grants rights by topic, not by type: who must be allowed to write to a topic (:func:`writers`) could publish
others' types there. An event key is good for its publisher's types, so signatures close what the topics leave open.
"""

from __future__ import annotations

from schemas.bus import events
from schemas.bus.events import EVENT_TYPES, EventData

Types = tuple[type[EventData], ...]

OPERATORS = "operators"

OWED: Types = (
    events.TrainingRequested,
    events.TrainingStarted,
    events.TrainingCompleted,
    events.TrainingRejected,
    events.TrainingFailed,
    events.AdapterReady,
    events.AdapterActivated,
    events.AdapterRolledBack,
    events.AdapterRetired,
    events.UsageRecorded,
)
"""What a tenant's outbox may hold. The next process that swaps the state publishes what a dead one left there."""

_OF_CURATION: Types = tuple(
    model
    for model in EVENT_TYPES.values()
    if model.topic == events.CURATION and model is not events.ExampleReturned  # training's own word
)
_OF_KNOWLEDGE: Types = tuple(model for model in EVENT_TYPES.values() if model.topic == events.KNOWLEDGE)

PUBLISHES: dict[str, Types] = {
    # Whatever any topic but that of outcomes holds they may also send again.
    OPERATORS: tuple(model for model in EVENT_TYPES.values() if model is not events.OutcomeRecorded),
    "import": (events.ConsentGranted, events.ExampleProposed, events.ExampleApproved),
    "ehr": (*_OF_CURATION, *_OF_KNOWLEDGE),
    "curation-tools": _OF_CURATION,
    "review": (events.ExampleProposed, events.ExampleReviewed),
    "curation": (
        *OWED,
        events.ExampleApproved,
        events.ExampleRejected,
        events.ExampleWithdrawn,
        events.OutcomeRecorded,
    ),
    "training": (*OWED, events.ExampleReturned, events.OutcomeRecorded),
    "adapters": (*OWED, events.OutcomeRecorded),
    "knowledge": (events.UsageRecorded, events.OutcomeRecorded),
    "export": (events.ExportReady, events.OutcomeRecorded),
    "purge": (
        events.ExportReady,
        events.PurgeRequested,
        events.PurgeFenced,
        events.PurgeCompleted,
        events.PurgeAtRisk,
        events.PurgeOverdue,
        events.OutcomeRecorded,
    ),
    "ledger": (events.UsageRecorded, events.OutcomeRecorded),
    "inference": (events.ReplicaRegistered, events.ReplicaEvicted, events.UsageRecorded, events.OutcomeRecorded),
}
"""By principal: its own events, and others' outbox entries that it publishes. The training workers are the training
service to the bus."""

REQUEUES: dict[str, Types] = {
    "adapters": (events.ReplicaEvicted,),
    "purge": (events.TenantChurned, events.PurgeRequested, events.ReplicaEvicted),
    "ledger": (
        events.TenantChurned,
        events.PurgeRequested,
        events.PurgeFenced,
        events.AdapterRetired,
        events.ReplicaEvicted,
    ),
    "inference": (events.PurgeFenced, events.AdapterRetired),
}
"""Others' events that a service requeues where it keeps failing on them, under the signature that they came with."""

OUTSIDE = ("import", "ehr", "curation-tools")
"""Publishers that are neither a service of ours nor an operator's command."""

ONLY_OURS: Types = tuple(model for model in EVENT_TYPES.values() if not any(model in PUBLISHES[who] for who in OUTSIDE))
"""Types that only services and operators publish."""


def written(who: str) -> Types:
    """The types that ``who`` has a reason to write to the bus."""
    return (*PUBLISHES[who], *REQUEUES.get(who, ()))


def writers(topic: str) -> tuple[str, ...]:
    """Who must be allowed to write to a live topic."""
    return tuple(who for who in PUBLISHES if any(model.topic == topic for model in written(who)))
