"""Builds the AsyncAPI 3.0 document of the bus from topics and event types.

It includes keys, headers, groups and retention, which a generator that reads handlers cannot know.
"""

from __future__ import annotations

from typing import Any

import yaml

from schemas.base.identifiers import OPAQUE_ID_PATTERN, TENANT_ID_PATTERN, TRACEPARENT_PATTERN
from schemas.bus.dead_letters import CONSUMER, DETAIL, ORIGINAL, REASON, REASON_HEADERS, TIME, TOO_LARGE, VALUE_BYTES
from schemas.bus.envelope import CONTENT_TYPE, ORIGIN, REPLAY_ID, REQUEUED_FOR, data_schema
from schemas.bus.events import EVENT_TYPES, EventData, ReplicaRegistered
from schemas.bus.json_schemas import Schema, shared_definitions
from schemas.bus.signatures import MAX_SIGNATURE_CHARACTERS, MEDIA_TYPE, SIGNATURE, SIGNATURE_PATTERN
from schemas.bus.topics import REPLICA_SERVICE, TOPICS, Topic
from schemas.version import VERSION

BINDING_VERSION = "0.5.0"
PRODUCTION_BROKERS = 3
GROUP_VERSION = "v1"

NUMBER: Schema = {"type": "string", "pattern": "^[0-9]+$"}
SCHEMA_REFERENCE = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """The document as JSON values."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sanolith",
            "version": VERSION,
            "description": (
                "Events of private LoRA adapters, one per tenant. CloudEvents 1.0 in Kafka's binary mode: attributes "
                "in ce_* headers, JSON as the value. The key is the ce_subject, which keeps one tenant's events of a "
                "topic in order. The ce_id is derived from type, subject and the event's natural key, and identifies "
                "redeliveries. Producers send no field that is not declared here; consumers ignore such fields. The "
                f"header {SIGNATURE} says who published an event: docs/integrators.md shows how to sign."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {name: operation for topic in TOPICS.values() for name, operation in _operations(topic)},
        "components": {
            "messages": {
                **{_message_name(model): _message(model) for model in EVENT_TYPES.values()},
                "dead-letter": _dead_letter(),
            },
            "schemas": _schemas(),
        },
    }


def to_yaml(value: dict[str, Any]) -> str:
    """Block style, in the order given, without anchors."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def consumer_group(service: str) -> str:
    """The group of every process of one service."""
    return f"{service}.{GROUP_VERSION}"


def _message_name(model: type[EventData]) -> str:
    return model.type.removeprefix("sano.")


def _channel(topic: Topic) -> dict[str, Any]:
    models = [model for model in EVENT_TYPES.values() if model.topic == topic.name]
    names = [_message_name(model) for model in models] or ["dead-letter"]
    config: dict[str, Any] = topic.config(PRODUCTION_BROKERS)
    config["cleanup.policy"] = [config["cleanup.policy"]]
    for name in ("retention.ms", "segment.ms", "max.message.bytes", "min.insync.replicas"):
        config[name] = int(config[name])
    return {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication_factor(PRODUCTION_BROKERS),
                "topicConfiguration": config,
                "bindingVersion": BINDING_VERSION,
            }
        },
        "x-owner": topic.owner,
        "x-privacy": topic.privacy,
        "x-worst-case-survival-ms": topic.worst_case_survival_ms(),
    }


def _operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    channel = {"$ref": f"#/channels/{topic.name}"}
    sends = [(f"{service}.sends.{topic.name}", {"action": "send", "channel": channel}) for service in topic.producers]
    receives = [
        (
            f"{service}.receives.{topic.name}",
            {
                "action": "receive",
                "channel": channel,
                "bindings": {"kafka": {"groupId": _group(service), "bindingVersion": BINDING_VERSION}},
            },
        )
        for service in topic.consumers
    ]
    return [*sends, *receives]


def _group(service: str) -> Schema:
    if service == REPLICA_SERVICE:
        return {
            "type": "string",
            "pattern": rf"^{REPLICA_SERVICE}\.{OPAQUE_ID_PATTERN.removeprefix('^')}",
            "description": f"{REPLICA_SERVICE}.<replica id>: every replica sees every event",
        }
    return {"type": "string", "enum": [consumer_group(service)]}


def _message(model: type[EventData]) -> dict[str, Any]:
    subject = "ReplicaSubject" if model is ReplicaRegistered else "TenantSubject"
    # Of the others the key is a word that the guide for integrators has.
    natural_key = {"x-natural-key": list(model.identified_by)} if hasattr(model, "identified_by") else {}
    return {
        "name": model.type,
        "title": model.__name__,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "allOf": [{"$ref": SCHEMA_REFERENCE.format(model="Headers")}],
            "properties": {
                "ce_type": {"type": "string", "const": model.type},
                "ce_dataschema": {"type": "string", "const": data_schema(model.type)},
                "ce_subject": {"$ref": SCHEMA_REFERENCE.format(model=subject)},
            },
        },
        "payload": {"$ref": SCHEMA_REFERENCE.format(model=model.__name__)},
        **natural_key,
        # Not by reference: the official JSON Schema of this binding takes a reference for two things at once.
        "bindings": {"kafka": {"key": _subject_schemas()[subject], "bindingVersion": BINDING_VERSION}},
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "dead-letter",
        "title": "DeadLetter",
        "summary": (
            "A message that no consumer could handle: the original key, value and headers, followed by the reason. The "
            "value and everything long are omitted where a topic carries ciphertext and the message is not exactly an "
            f"event, since clear text may be in it, and where the bus's message limit would be exceeded ({TOO_LARGE}). "
            "The whole message lies at dlq_topic, dlq_partition, dlq_offset."
        ),
        "contentType": "application/octet-stream",
        "headers": {"$ref": SCHEMA_REFERENCE.format(model="DeadLetterHeaders")},
        "payload": {"description": "the original bytes, or none"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "the original key; may be missing or not text"},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _schemas() -> dict[str, Schema]:
    return {
        **_subject_schemas(),
        "Headers": _headers(),
        "DeadLetterHeaders": _dead_letter_headers(),
        **{
            name: _spelled_for_asyncapi(schema)
            for name, schema in shared_definitions(list(EVENT_TYPES.values()), SCHEMA_REFERENCE).items()
        },
    }


def _subject_schemas() -> dict[str, Schema]:
    return {
        "TenantSubject": {"type": "string", "pattern": TENANT_ID_PATTERN, "description": "the tenant's opaque id"},
        "ReplicaSubject": {"type": "string", "pattern": OPAQUE_ID_PATTERN, "description": "the replica's id"},
    }


def _headers() -> Schema:
    opaque = {"type": "string", "pattern": OPAQUE_ID_PATTERN}
    properties: dict[str, Schema] = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid", "description": "uuid5 over type, subject and natural key"},
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "ce_subject": {"type": "string", "description": "same as the message key"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_dataschema": {"type": "string", "format": "uri"},
        "content-type": {"type": "string", "const": CONTENT_TYPE},
        "ce_causationid": {**opaque, "description": "ce_id of the event that caused this one"},
        SIGNATURE: {
            "type": "string",
            "pattern": SIGNATURE_PATTERN,
            "maxLength": MAX_SIGNATURE_CHARACTERS,
            "description": (
                "detached JWS (RFC 7515, appendix F) by the publisher's event key. Protected header: alg (Ed25519 or "
                f"ES256), iat, kid (the key's id in the trust file) and typ ({MEDIA_TYPE}), and nothing else. Payload: "
                "canonical JSON (RFC 8785) of attributes (an object of every ce_* header but ce_replayid and "
                "ce_original*, and of content-type), topic, and value_sha256 (hex, of the message's value)"
            ),
        },
        REPLAY_ID: {**opaque, "description": "only on messages that operators republished"},
        **_origin_headers(),
        **_reason_headers(),
        "traceparent": {"type": "string", "pattern": TRACEPARENT_PATTERN, "description": "W3C Trace Context"},
        REQUEUED_FOR: {
            "type": "string",
            "description": (
                "only on the requeued copy of a removal event that one consumer keeps failing on: that service, or "
                f"{REPLICA_SERVICE}.<replica id>; all others skip the copy. Publishers do not set it"
            ),
        },
    }
    optional = {
        "ce_causationid",
        SIGNATURE,
        REPLAY_ID,
        *_origin_headers(),
        *_reason_headers(),
        "traceparent",
        REQUEUED_FOR,
    }
    return {
        "type": "object",
        "description": (
            "A message that operators republished also carries its origin, once for each republication; a redriven "
            "dead letter keeps its reasons."
        ),
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _origin_headers() -> dict[str, Schema]:
    topic, partition, offset = ORIGIN
    return {
        topic: {"type": "string", "description": f"only with {REPLAY_ID}: topic that the message was read from"},
        partition: NUMBER,
        offset: NUMBER,
    }


def _reason_headers() -> dict[str, Schema]:
    topic, partition, offset = ORIGINAL
    return {
        REASON: {"type": "string", "description": "a code, such as invalid-data"},
        DETAIL: {"type": "string", "maxLength": 512, "description": "what was invalid, without any content"},
        CONSUMER: {"type": "string"},
        TIME: {"type": "string", "format": "date-time"},
        topic: {"type": "string"},
        partition: NUMBER,
        offset: NUMBER,
    }


def _dead_letter_headers() -> Schema:
    return {
        "type": "object",
        "description": "The original headers, whatever they were, plus these.",
        "properties": {
            **_reason_headers(),
            VALUE_BYTES: {
                **NUMBER,
                "description": "only where the value is omitted: its size",
            },
        },
        "required": list(REASON_HEADERS),
    }


def _spelled_for_asyncapi(node: Any) -> Any:
    """AsyncAPI's schema object names the discriminator by a string; pydantic writes OpenAPI's object."""
    if isinstance(node, list):
        return [_spelled_for_asyncapi(item) for item in node]
    if isinstance(node, dict):
        spelled = {name: _spelled_for_asyncapi(value) for name, value in node.items()}
        if isinstance(discriminator := spelled.get("discriminator"), dict):
            spelled["discriminator"] = discriminator["propertyName"]
        return spelled
    return node
