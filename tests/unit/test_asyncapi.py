"""The AsyncAPI document says about the bus what the code does on it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from consumers.runtime.dead_letters import Reason, dead_letter
from consumers.runtime.service import GROUP_VERSION
from producers.replay.log import Message, Place
from producers.replay.running import resent
from producers.replay.selection import REPLAYABLE, Candidate
from schemas.bus.asyncapi import consumer_group, document
from schemas.bus.dead_letters import REASON_HEADERS, VALUE_BYTES
from schemas.bus.envelope import ORIGIN, REPLAY_ID
from schemas.bus.events import EVENT_TYPES
from schemas.bus.topics import LIVE_TOPICS, TOPICS, dead_letter_topic
from schemas.generate import GOLDEN
from tests.fixtures.records import raw_record
from tests.unit.asyncapi_structure import problems, resolve
from tests.unit.stored_examples import StoredExample, stored_examples
from tests.unit.test_services_page import SERVICES, must_write, operators_must_write, subscribed

Json = dict[str, Any]
DOCUMENT: Json = yaml.safe_load((GOLDEN / "asyncapi.yaml").read_text(encoding="utf-8"))


def valid(schema: Json, instance: Any) -> bool:
    registry: Any = Registry().with_resource("urn:doc", DRAFT202012.create_resource(DOCUMENT))
    absolute = _with_absolute_references(schema)
    return bool(Draft202012Validator(absolute, registry=registry).is_valid(instance))


def _with_absolute_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_absolute_references(item) for item in node]
    if isinstance(node, dict):
        return {
            name: f"urn:doc{value}" if name == "$ref" else _with_absolute_references(value)
            for name, value in node.items()
        }
    return node


def operations(action: str, topic: str) -> dict[str, Json]:
    return {
        name: operation
        for name, operation in DOCUMENT["operations"].items()
        if (operation["action"], operation["channel"]["$ref"]) == (action, f"#/channels/{topic}")
    }


def test_the_document_is_asyncapi_3() -> None:
    assert problems(DOCUMENT) == []


def test_the_yaml_in_git_is_the_document_and_nothing_is_lost_by_writing_it() -> None:
    assert document() == DOCUMENT


def _drop(*path: str) -> Callable[[Json], None]:
    def change(whole: Json) -> None:
        node: Any = whole
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]

    return change


def _set(value: Any, *path: str) -> Callable[[Json], None]:
    def change(whole: Json) -> None:
        node: Any = whole
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return change


TOPIC = "sano.tenants.v1"


@pytest.mark.parametrize(
    "spoil",
    [
        _drop("info", "version"),
        _set("3.1", "asyncapi"),
        _set("x", "info", "contacts"),
        _drop("operations", f"purge.receives.{TOPIC}", "action"),
        _drop("operations", f"purge.receives.{TOPIC}", "bindings"),
        _set({"$ref": "#/channels/sano.gone.v1"}, "operations", f"purge.receives.{TOPIC}", "channel"),
        _set(0, "channels", TOPIC, "bindings", "kafka", "partitions"),
        _set("0.4.0", "channels", TOPIC, "bindings", "kafka", "bindingVersion"),
        _set("delete", "channels", TOPIC, "bindings", "kafka", "topicConfiguration", "cleanup.policy"),
        _drop("components", "messages", "purge.fenced", "bindings"),
        _drop("components", "messages", "purge.fenced", "headers"),
        _set({"type": "text"}, "components", "schemas", "Headers"),
        _set({"$ref": "#/components/schemas/Gone"}, "components", "messages", "purge.fenced", "payload"),
        _set({"address": "x", "messages": {}}, "channels", "sano.unused.v1"),
    ],
)
def test_the_structural_check_sees_what_is_wrong(spoil: Callable[[Json], None]) -> None:
    spoiled = copy.deepcopy(DOCUMENT)
    spoil(spoiled)
    assert problems(spoiled)


def test_every_topic_is_a_channel_with_the_settings_that_the_brokers_get() -> None:
    assert DOCUMENT["channels"].keys() == TOPICS.keys()
    for name, topic in TOPICS.items():
        kafka = DOCUMENT["channels"][name]["bindings"]["kafka"]
        said = {key: ",".join(v) if isinstance(v, list) else str(v) for key, v in kafka["topicConfiguration"].items()}
        assert said == topic.config(3)
        assert (kafka["topic"], kafka["partitions"], kafka["replicas"]) == (name, topic.partitions, 3)


def test_every_event_type_is_a_message_of_its_topic_and_of_no_other() -> None:
    for name in LIVE_TOPICS:
        types = {event_type.removeprefix("sano.") for event_type, m in EVENT_TYPES.items() if m.topic == name}
        assert DOCUMENT["channels"][name]["messages"].keys() == types
        assert DOCUMENT["channels"][f"{name}.dlq"]["messages"].keys() == {"dead-letter"}


def sent_by(who: str) -> set[str]:
    """The topics that access rights made from the document would let it write to."""
    return {name for name in TOPICS if f"{who}.sends.{name}" in operations("send", name)}


def received_by(who: str) -> set[str]:
    return {name for name in TOPICS if f"{who}.receives.{name}" in operations("receive", name)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_operations_are_what_its_code_subscribes_to_and_publishes(service: str) -> None:
    assert received_by(service) == subscribed(service)
    assert sent_by(service) == must_write(service) | {dead_letter_topic(topic) for topic in subscribed(service)}


def test_operators_send_what_their_commands_publish_and_whatever_can_be_replayed_or_redriven() -> None:
    assert sent_by("operators") == operators_must_write() >= set(REPLAYABLE)
    assert received_by("operators") == set(), "they read in no group"


def test_nobody_else_sends_but_the_review_page_and_who_publishes_from_outside() -> None:
    everybody = {name.partition(".")[0] for name in DOCUMENT["operations"]}
    assert everybody - {*SERVICES, "operators", "review"} == {"import", "ehr", "curation-tools"}


def test_a_service_reads_in_one_group_and_each_replica_in_a_group_of_its_own() -> None:
    for name, topic in TOPICS.items():
        for service in topic.consumers:
            receive = DOCUMENT["operations"][f"{service}.receives.{name}"]
            group = receive["bindings"]["kafka"]["groupId"]
            if service == "inference":
                assert re.search(group["pattern"], "inference.replica-a1")
                assert not re.search(group["pattern"], "inference.")
                assert not re.search(group["pattern"], "inference")
            else:
                assert group["enum"] == [f"{service}.{GROUP_VERSION}"] == [consumer_group(service)]


@pytest.mark.parametrize("example", stored_examples(), ids=str)
def test_a_stored_example_is_a_message_of_the_document(example: StoredExample) -> None:
    message = DOCUMENT["components"]["messages"][example.path.parts[-3]]
    assert valid(message["bindings"]["kafka"]["key"], example.key)
    assert valid(message["headers"], example.headers)
    assert valid(message["payload"], example.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_type", "sano.purge.overdue"),
        ("ce_specversion", "0.3"),
        ("ce_subject", "T 1"),
        ("ce_replayid", "two words"),
        ("traceparent", "none"),
        ("content-type", "text/plain"),
        ("ce_id", None),
    ],
)
def test_headers_that_decode_would_refuse_are_not_valid_by_the_document_either(name: str, value: str | None) -> None:
    example = next(e for e in stored_examples() if e.path.parts[-3] == "purge.fenced")
    headers = {key: item for key, item in {**example.headers, name: value}.items() if item is not None}
    assert not valid(DOCUMENT["components"]["messages"]["purge.fenced"]["headers"], headers)


@pytest.mark.parametrize("example", stored_examples(), ids=str)
def test_every_header_of_a_message_that_was_sent_again_is_described(example: StoredExample) -> None:
    """A dead letter is sent again with everything: its reasons, the replay and where it was read."""
    headers = tuple((name, value.encode()) for name, value in example.headers.items())
    event = example.decode()
    record = raw_record(event.topic, example.key.encode(), event.data.model_dump_json().encode(), headers)
    letter = dead_letter(record, Reason("handler-error", "said", "curation", event.time))
    place = Place(letter.topic, 0, 7)
    message = Message(place, event.time, letter.key, letter.value, tuple(letter.headers))
    sent = resent(Candidate(message, event), "replay-1")
    names = [name for name, _ in sent.headers]
    assert {*ORIGIN, REPLAY_ID, *REASON_HEADERS} <= set(names)
    schema = DOCUMENT["components"]["messages"][example.path.parts[-3]]["headers"]
    described = {**resolve(DOCUMENT, schema["allOf"][0]["$ref"])["properties"], **schema["properties"]}
    assert set(names) - example.headers.keys() <= described.keys()
    assert valid(schema, {name: (value or b"").decode() for name, value in sent.headers})


def test_dead_letters_are_described_with_the_headers_that_the_runtime_adds() -> None:
    described = resolve(DOCUMENT, DOCUMENT["components"]["messages"]["dead-letter"]["headers"]["$ref"])
    assert tuple(described["properties"]) == (*REASON_HEADERS, VALUE_BYTES)
    assert tuple(described["required"]) == REASON_HEADERS
