"""Access control as data: it lets everybody do their work and nobody more, and says what Kafka's rights leave open."""

from __future__ import annotations

import pytest

from schemas.bus import events
from schemas.bus.access import PRINCIPALS, SERVICES, Grant, grants
from schemas.bus.asyncapi import consumer_group
from schemas.bus.events import EVENT_TYPES
from schemas.bus.publishers import OPERATORS, Types, written
from schemas.bus.topics import LIVE_TOPICS, TOPICS, dead_letter_topic
from tests.unit.test_docs import page, rows, section, ticked
from tests.unit.test_services_page import HANDLERS

UPSTREAM = ("import", "ehr", "curation-tools")
PAGE = "review"
"""A service of ours that reads no topic."""


def topics(who: str, operation: str) -> set[str]:
    return {grant.name for grant in grants(who) if (grant.resource, grant.operation) == ("topic", operation)}


def test_every_service_and_every_kind_of_publisher_is_a_principal() -> None:
    assert set(PRINCIPALS) == {OPERATORS, PAGE, *UPSTREAM, *HANDLERS}
    assert set(SERVICES) == set(HANDLERS)


@pytest.mark.parametrize("who", PRINCIPALS)
def test_whoever_publishes_a_type_may_write_to_its_topic_and_to_no_topic_without_one(who: str) -> None:
    live = topics(who, "write") & set(LIVE_TOPICS)
    assert live == {model.topic for model in written(who)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_read_what_it_handles_and_dead_letter_what_it_reads(service: str) -> None:
    read = topics(service, "read")
    assert {model.topic for model in HANDLERS[service]} <= read
    assert read == {name for name in LIVE_TOPICS if service in TOPICS[name].consumers}
    assert topics(service, "write") - set(LIVE_TOPICS) == {dead_letter_topic(name) for name in read}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_in_its_own_group_only(service: str) -> None:
    [group] = [grant for grant in grants(service) if grant.resource == "group"]
    expected = ("inference.", True) if service == "inference" else (consumer_group(service), False)
    assert (group.name, group.is_prefix, group.operation) == (*expected, "read")


@pytest.mark.parametrize("who", (PAGE, *UPSTREAM))
def test_who_publishes_from_outside_may_write_decisions_and_documents_and_read_nothing(who: str) -> None:
    assert {(grant.resource, grant.operation) for grant in grants(who)} == {("topic", "write")}
    assert topics(who, "write") <= {events.CURATION, events.KNOWLEDGE}


def test_operators_read_everything_but_take_no_event_from_a_consumer_and_write_no_outcome_and_no_letter() -> None:
    assert topics(OPERATORS, "read") == topics(OPERATORS, "describe-configs") == set(TOPICS)
    assert topics(OPERATORS, "write") == set(LIVE_TOPICS) - {events.OUTCOMES}
    groups = {grant.operation for grant in grants(OPERATORS) if grant.resource == "group"}
    assert groups == {"describe"}


def test_nobody_may_change_a_topic_a_right_or_the_cluster() -> None:
    """Otherwise whoever has that credential could lengthen a topic's retention past the deletion SLA."""
    assert {grant.operation for who in PRINCIPALS for grant in grants(who)} == {
        "read",
        "write",
        "describe",
        "describe-configs",
    }
    cluster = [(who, grant.operation) for who in PRINCIPALS for grant in grants(who) if grant.resource == "cluster"]
    assert cluster == [(OPERATORS, "describe")]


def left_open(who: str) -> Types:
    """The types that the rights of ``who`` let it publish although it has no reason to: others' types on its topics."""
    topics = {model.topic for model in written(who)}
    return tuple(m for m in EVENT_TYPES.values() if m.topic in topics and m not in written(who))


def test_no_right_is_given_twice_and_each_reads_as_a_line() -> None:
    for who in PRINCIPALS:
        assert len(set(grants(who))) == len(grants(who))
    assert str(Grant(resource="group", name="inference.", operation="read", is_prefix=True)) == "read group inference.*"


def test_topic_rights_let_a_replica_end_a_tenant() -> None:
    assert events.TenantChurned in left_open("inference"), "a replica sends fences to the back of the same topic"


def test_the_page_on_security_says_what_is_left_open() -> None:
    documented = {row[0]: row for row in rows(section(page("docs/security.md"), "### What it leaves open"))}
    assert documented.keys() == {who for who in PRINCIPALS if left_open(who)}
    for who, row in documented.items():
        assert {f"sano.{name}" for name in ticked(row[1])} == {model.type for model in left_open(who)}, who


def test_the_page_for_operators_names_every_principal() -> None:
    first, *others = (ticked(row[0]) for row in rows(section(page("docs/operations.md"), "### Access control lists")))
    services = {name.removeprefix("User:sano-").removeprefix("-") for name in first}
    assert services == set(SERVICES)
    assert {name for names in others for name in names} == {f"User:sano-{who}" for who in (OPERATORS, PAGE, *UPSTREAM)}
