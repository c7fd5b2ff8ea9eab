"""Declares the topics: owner, readers, writers, how long a record can survive, and broker configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.bus import events
from schemas.bus.publishers import writers

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Kafka checks retention every 5 minutes (log.retention.check.interval.ms) and unlinks a deleted segment's file
# 60 s later (file.delete.delay.ms). Both are broker defaults.
RETENTION_CHECK_MS = 5 * 60_000
FILE_DELETE_DELAY_MS = 60_000

REPLICA_SERVICE = "inference"
"""Each replica must see every event, so it reads in a group of its own, ``<service>.<replica id>``."""

MESSAGE_BYTES = 1_048_576
"""The largest message that our publishers send; the largest event of the contract has a JWE of a quarter of that."""


class Topic(Contract):
    """One topic. ``owner`` is the one consumer that dead-letters unreadable messages, so that each is one letter.

    ``producers`` must be allowed to write. They include services that publish another service's outbox entries,
    services that requeue a removal event which keeps failing, and the operators, who resend from any topic but that of
    outcomes.
    """

    name: str
    description: str
    owner: str
    consumers: tuple[str, ...]
    producers: tuple[str, ...]
    privacy: Literal["references-only", "references-or-ciphertext"]
    partitions: int = Field(default=6, ge=1)
    retention_ms: int = Field(default=7 * DAY_MS, ge=HOUR_MS)
    unlimited: bool = Field(default=False, description="nothing is ever dropped, whatever retention_ms says")
    segment_ms: int = Field(default=HOUR_MS, ge=60_000)

    def config(self, brokers: int) -> dict[str, str]:
        """Broker-side settings. ``LogAppendTime``, since a producer's future timestamp would outlive retention.
        ``max.message.bytes`` is what publishers send at most: they know what is too large before they send it.
        """
        return {
            "cleanup.policy": "delete",
            "retention.ms": "-1" if self.unlimited else str(self.retention_ms),
            "segment.ms": str(self.segment_ms),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MESSAGE_BYTES),
            "min.insync.replicas": "2" if brokers >= 3 else "1",
        }

    def replication_factor(self, brokers: int) -> int:
        """Three copies where there are three brokers."""
        return min(3, brokers)

    def worst_case_survival_ms(self) -> int:
        """How long a record can stay on disk: its segment's whole span, retention, the check and the unlink.

        Source: ``UnifiedLog.deleteRetentionMsBreachedSegments`` deletes whole segments, by their largest timestamp.
        Raises :class:`ValueError` where nothing is ever dropped.
        """
        if self.unlimited:
            raise ValueError(f"{self.name} keeps its records without end")
        return self.segment_ms + self.retention_ms + RETENTION_CHECK_MS + FILE_DELETE_DELAY_MS


def _dead_letters(topic: Topic) -> Topic:
    return Topic(
        name=f"{topic.name}.dlq",
        description=f"dead letters of {topic.name}, each with its reason and its original headers",
        owner="operators",
        consumers=(),
        producers=topic.consumers,
        privacy=topic.privacy,
        partitions=1,
    )


_LIVE = (
    Topic(
        name=events.TENANTS,
        description="tenant lifecycle: onboarding, policy, exports, churn and purge",
        owner="purge",
        consumers=("purge", "export", "inference", "ledger"),
        producers=writers(events.TENANTS),
        privacy="references-only",
    ),
    Topic(
        name=events.CURATION,
        description="proposed examples, reviews, decisions on examples, and consents",
        owner="curation",
        consumers=("curation", "ledger"),
        producers=writers(events.CURATION),
        privacy="references-or-ciphertext",
    ),
    Topic(
        name=events.TRAINING,
        description="training commands and their results",
        owner="training",
        consumers=("training", "ledger"),
        producers=writers(events.TRAINING),
        privacy="references-only",
    ),
    Topic(
        name=events.ADAPTERS,
        description="adapters ready, activated, rolled back and retired",
        owner="adapters",
        consumers=("adapters", "inference", "ledger"),
        producers=writers(events.ADAPTERS),
        privacy="references-only",
    ),
    Topic(
        name=events.REPLICAS,
        description="serving replicas and their signed acknowledgements",
        owner="purge",
        consumers=("purge", "adapters", "ledger"),
        producers=writers(events.REPLICAS),
        privacy="references-only",
    ),
    Topic(
        name=events.KNOWLEDGE,
        description="documents for retrieval",
        owner="knowledge",
        consumers=("knowledge", "ledger"),
        producers=writers(events.KNOWLEDGE),
        privacy="references-or-ciphertext",
    ),
    Topic(
        name=events.USAGE,
        description="usage of each tenant",
        owner="ledger",
        consumers=("ledger",),
        producers=writers(events.USAGE),
        privacy="references-only",
    ),
    Topic(
        name=events.OUTCOMES,
        description="the outcome of every handling of an event",
        owner="ledger",
        consumers=("ledger",),
        producers=writers(events.OUTCOMES),
        privacy="references-only",
    ),
)

TOPICS: dict[str, Topic] = {topic.name: topic for live in _LIVE for topic in (live, _dead_letters(live))}
LIVE_TOPICS: tuple[str, ...] = tuple(topic.name for topic in _LIVE)


def dead_letter_topic(topic: str) -> str:
    """Where the dead letters of ``topic`` go."""
    return TOPICS[f"{topic}.dlq"].name
