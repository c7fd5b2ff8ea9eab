"""Topics as data: owners, survival against the deletion SLA, and agreement with the services that read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.adapters import app as adapters
from consumers.curation import app as curation
from consumers.export import app as export
from consumers.knowledge import app as knowledge
from consumers.ledger import app as ledger
from consumers.purge import app as purge
from consumers.training import app as training
from schemas.bus.events import CURATION, EVENT_TYPES, TENANTS, EventData
from schemas.bus.retention import kept, survival
from schemas.bus.topics import LIVE_TOPICS, TOPICS, Topic, dead_letter_topic
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused
from tenancy.platform.settings import PlatformSettings, loaded

HANDLERS: dict[str, Mapping[type[EventData], object]] = {
    "adapters": adapters.HANDLERS,
    "curation": curation.HANDLERS,
    "export": export.HANDLERS,
    "knowledge": knowledge.HANDLERS,
    "ledger": ledger.HANDLERS,
    "purge": purge.HANDLERS,
    "training": training.HANDLERS,
}
LIVE = [TOPICS[name] for name in LIVE_TOPICS]


def smallest_allowed_sla() -> int:
    for days in range(1, 366):
        try:
            return TenantPolicy(deletion_sla_days=days).deletion_sla_days
        except ValidationError:
            continue
    raise AssertionError("no SLA is allowed")


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_a_record_is_off_every_disk_within_seven_days_one_hour_and_six_minutes(topic: Topic) -> None:
    """retention 7 d + the segment's whole span 1 h + the broker's check 5 min + the unlink 1 min."""
    assert survival([topic]) == timedelta(days=7, hours=1, minutes=6)
    # The bound holds only for segments that are deleted, by the broker's clock and not the producer's.
    assert topic.config(3)["cleanup.policy"] == "delete"
    assert topic.config(3)["message.timestamp.type"] == "LogAppendTime"
    assert topic.config(3)["retention.ms"] == str(topic.retention_ms)
    assert topic.config(3)["segment.ms"] == str(topic.segment_ms)


def test_no_deletion_sla_can_be_promised_that_a_topic_would_break() -> None:
    """The default SLA of 30 days, and also the smallest that a policy may hold, exceed the longest survival."""
    longest = survival(TOPICS.values())
    assert longest is not None
    assert timedelta(days=TenantPolicy().deletion_sla_days) == timedelta(days=30) > longest
    assert timedelta(days=smallest_allowed_sla()) > longest


def test_a_longer_retention_is_a_longer_survival() -> None:
    topic = LIVE[0]
    longer = topic.evolve(retention_ms=topic.retention_ms + 1, segment_ms=topic.segment_ms + 2)
    assert longer.worst_case_survival_ms() == topic.worst_case_survival_ms() + 3


def test_a_topic_is_kept_as_the_installation_wishes_and_the_others_as_the_contract_says() -> None:
    topics = kept({CURATION: "unlimited", TENANTS: 90})
    assert topics.keys() == TOPICS.keys()
    assert topics[CURATION].config(3) == TOPICS[CURATION].config(3) | {"retention.ms": "-1"}
    assert topics[TENANTS].config(3)["retention.ms"] == str(90 * 86_400_000)
    assert survival([topics[TENANTS]]) == timedelta(days=90, hours=1, minutes=6)
    assert survival(topics.values()) is None
    assert {name for name in TOPICS if topics[name] != TOPICS[name]} == {CURATION, TENANTS}


@pytest.mark.parametrize("days", [1, 6, 7, 8, 36_500, "unlimited"])
def test_no_wish_keeps_a_dead_letter_until_the_smallest_sla_or_for_longer_than_its_topic(days: Any) -> None:
    """A letter holds whatever was sent, and a redriven message of the topic is what records that it was redriven."""
    topics = kept(dict.fromkeys(LIVE_TOPICS, days))
    for name in LIVE_TOPICS:
        letters = topics[dead_letter_topic(name)]
        assert timedelta(milliseconds=letters.worst_case_survival_ms()) < timedelta(days=smallest_allowed_sla())
        assert topics[name].unlimited or letters.retention_ms <= topics[name].retention_ms


def test_what_never_drops_a_record_has_no_worst_case() -> None:
    with pytest.raises(ValueError, match="without end"):
        kept({CURATION: "unlimited"})[CURATION].worst_case_survival_ms()


def settings_of(monkeypatch: pytest.MonkeyPatch, retention: str) -> PlatformSettings:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "S3_BUCKET": "bucket", "TOPIC_RETENTION": retention}
    for name, value in given.items():
        monkeypatch.setenv(f"SANO_{name}", value)
    return loaded(PlatformSettings)


def test_the_setting_is_pairs_of_topic_and_days(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = settings_of(monkeypatch, f"{TENANTS}=90, {CURATION}=unlimited").retention
    assert wishes == {TENANTS: 90, CURATION: "unlimited"}
    assert settings_of(monkeypatch, "").retention == {}


@pytest.mark.parametrize(
    "wrong", [f"{CURATION}.dlq=90", "sano.else.v1=9", f"{CURATION}=0", CURATION, f"{CURATION}=ever"]
)
def test_a_wish_that_cannot_be_met_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="SANO_TOPIC_RETENTION"):
        settings_of(monkeypatch, wrong)


@pytest.mark.parametrize("topic", LIVE, ids=lambda topic: topic.name)
def test_every_topic_has_an_owner_among_its_consumers_and_a_dead_letter_topic(topic: Topic) -> None:
    assert topic.owner in topic.consumers
    letters = TOPICS[dead_letter_topic(topic.name)]
    assert letters.producers == topic.consumers
    assert letters.privacy == topic.privacy
    assert letters.retention_ms <= topic.retention_ms


def test_every_event_type_belongs_to_a_topic_and_every_live_topic_carries_some() -> None:
    assert {model.topic for model in EVENT_TYPES.values()} == set(LIVE_TOPICS)


def test_nobody_handles_an_event_of_a_topic_that_it_does_not_read() -> None:
    for service, handlers in HANDLERS.items():
        for model in handlers:
            assert service in TOPICS[model.topic].consumers, f"{service} handles {model.type}"


def test_every_consumer_that_a_topic_names_exists() -> None:
    named = {service for topic in LIVE for service in topic.consumers}
    assert named == {*HANDLERS, "inference"}


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")])
def test_one_broker_may_fail_where_there_are_three(brokers: int, copies: int, in_sync: str) -> None:
    for topic in TOPICS.values():
        assert topic.replication_factor(brokers) == copies
        assert topic.config(brokers)["min.insync.replicas"] == in_sync
