"""Collects every event type of the contract, one file per topic.

Generated documents list the types in the order of these imports.
"""

# ruff: noqa: I001

from schemas.bus.events.base import (
    ADAPTERS,
    CURATION,
    EVENT_TYPES,
    KNOWLEDGE,
    OUTCOMES,
    REPLICAS,
    TENANTS,
    TRAINING,
    USAGE,
    EventData,
)
from schemas.bus.events.tenants import (
    ExportAcknowledged,
    ExportReady,
    ExportRequested,
    PolicyChanged,
    PurgeAtRisk,
    PurgeCompleted,
    PurgeFenced,
    PurgeOverdue,
    PurgeRequested,
    TenantChurned,
    TenantOnboarded,
)
from schemas.bus.events.curation import (
    ConsentGranted,
    ConsentRevoked,
    ExampleApproved,
    ExampleProposed,
    ExampleRejected,
    ExampleReturned,
    ExampleReviewed,
    ExampleWithdrawn,
    SourceKind,
    Verdict,
)
from schemas.bus.events.training import (
    TrainingCompleted,
    TrainingFailed,
    TrainingRejected,
    TrainingRequested,
    TrainingStarted,
    Trigger,
)
from schemas.bus.events.adapters import AdapterActivated, AdapterReady, AdapterRetired, AdapterRolledBack
from schemas.bus.events.replicas import ReplicaEvicted, ReplicaRegistered
from schemas.bus.events.knowledge import DocumentRemoved, DocumentUpserted
from schemas.bus.events.usage import (
    CANARIES,
    RATED_ADAPTERS,
    AnswersCounted,
    AnswersRated,
    CanaryAnswers,
    StoredBytes,
    UsageRecorded,
    UsageSource,
)
from schemas.bus.events.outcomes import OutcomeRecorded

__all__ = [
    "ADAPTERS",
    "CANARIES",
    "CURATION",
    "EVENT_TYPES",
    "KNOWLEDGE",
    "OUTCOMES",
    "RATED_ADAPTERS",
    "REPLICAS",
    "TENANTS",
    "TRAINING",
    "USAGE",
    "AdapterActivated",
    "AdapterReady",
    "AdapterRetired",
    "AdapterRolledBack",
    "AnswersCounted",
    "AnswersRated",
    "CanaryAnswers",
    "ConsentGranted",
    "ConsentRevoked",
    "DocumentRemoved",
    "DocumentUpserted",
    "EventData",
    "ExampleApproved",
    "ExampleProposed",
    "ExampleRejected",
    "ExampleReturned",
    "ExampleReviewed",
    "ExampleWithdrawn",
    "ExportAcknowledged",
    "ExportReady",
    "ExportRequested",
    "OutcomeRecorded",
    "PolicyChanged",
    "PurgeAtRisk",
    "PurgeCompleted",
    "PurgeFenced",
    "PurgeOverdue",
    "PurgeRequested",
    "ReplicaEvicted",
    "ReplicaRegistered",
    "SourceKind",
    "StoredBytes",
    "TenantChurned",
    "TenantOnboarded",
    "TrainingCompleted",
    "TrainingFailed",
    "TrainingRejected",
    "TrainingRequested",
    "TrainingStarted",
    "Trigger",
    "UsageRecorded",
    "UsageSource",
    "Verdict",
]
