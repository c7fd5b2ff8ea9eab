"""A strict check of the parts of AsyncAPI 3.0.0 that the contract uses.

It follows https://www.asyncapi.com/docs/reference/specification/v3.0.0 and version 0.5.0 of the Kafka bindings.
Stricter than the official JSON Schema: every field is named here, and every reference must lead somewhere. (No
package on PyPI carries the official JSON Schema of version 3; @asyncapi/specs 6.11.1 and @asyncapi/parser 3.6.3 from
npm accepted the document on 2026-11-24.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft7Validator

Check = Callable[[str, Any], Iterator[str]]

EXTENSION = re.compile(r"x-[\w.-]+")
COMPONENT_KEY = re.compile(r"[\w.-]+")


def problems(document: dict[str, Any]) -> list[str]:
    """Everything that is wrong with the document, as ``path: what``."""
    return [*_document("#", document), *_references(document), *_operation_channels(document)]


def _fields(
    path: str, node: Any, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> Iterator[str]:
    if not isinstance(node, dict):
        yield f"{path}: is not an object"
        return
    checks = {**required, **(optional or {})}
    for name in required.keys() - node.keys():
        yield f"{path}: lacks {name!r}"
    for name, value in node.items():
        if name in checks:
            yield from checks[name](f"{path}/{name}", value)
        elif not EXTENSION.fullmatch(name):
            yield f"{path}: {name!r} is no field of this object"


def _text(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield f"{path}: is not a text"


def _positive(path: str, value: Any) -> Iterator[str]:
    if type(value) is not int or value < 1:
        yield f"{path}: is not a positive integer"


def _exactly(*allowed: Any) -> Check:
    def check(path: str, value: Any) -> Iterator[str]:
        if value not in allowed:
            yield f"{path}: {value!r} is none of {allowed}"

    return check


def _map(check: Check, at_least: int = 1) -> Check:
    def check_all(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict) or len(value) < at_least:
            yield f"{path}: is not a map of at least {at_least}"
            return
        for name, item in value.items():
            if not COMPONENT_KEY.fullmatch(name):
                yield f"{path}: {name!r} is no key"
            yield from check(f"{path}/{name}", item)

    return check_all


def _reference_to(place: str) -> Check:
    def check(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict) or value.keys() != {"$ref"} or not value["$ref"].startswith(f"#/{place}/"):
            yield f"{path}: is not a reference into {place}"

    return check


def _schema(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: is not a schema"
        return
    for error in Draft7Validator(Draft7Validator.META_SCHEMA).iter_errors(value):
        yield f"{path}: {error.message}"
    for where, node in _walk(path, value):
        if not isinstance(node.get("discriminator", ""), str):
            yield f"{where}: AsyncAPI's discriminator is the name of a property"
        if node.keys() & {"$defs", "prefixItems", "unevaluatedProperties", "$dynamicRef"}:
            yield f"{where}: uses JSON Schema newer than draft 7"


def _document(path: str, document: Any) -> Iterator[str]:
    yield from _fields(
        path,
        document,
        {"asyncapi": _exactly("3.0.0"), "info": _info, "channels": _map(_channel), "operations": _map(_operation)},
        {"defaultContentType": _text, "components": _components},
    )


def _info(path: str, value: Any) -> Iterator[str]:
    def licence(inner: str, node: Any) -> Iterator[str]:
        yield from _fields(inner, node, {"name": _text}, {"url": _text})

    yield from _fields(path, value, {"title": _text, "version": _text}, {"description": _text, "license": licence})


def _components(path: str, value: Any) -> Iterator[str]:
    yield from _fields(path, value, {"messages": _map(_message), "schemas": _map(_schema)})


def _kafka(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    version = {"bindingVersion": _exactly("0.5.0")}

    def check(path: str, value: Any) -> Iterator[str]:
        yield from _fields(
            path, value, {"kafka": lambda inner, node: _fields(inner, node, {**required, **version}, optional)}
        )

    return check


def _channel(path: str, value: Any) -> Iterator[str]:
    binding = _kafka(
        {"topic": _text, "partitions": _positive, "replicas": _positive, "topicConfiguration": _topic_configuration}
    )
    yield from _fields(
        path,
        value,
        {
            "address": _text,
            "description": _text,
            "messages": _map(_reference_to("components/messages")),
            "bindings": binding,
        },
    )


def _topic_configuration(path: str, value: Any) -> Iterator[str]:
    def policies(inner: str, node: Any) -> Iterator[str]:
        if not isinstance(node, list) or not set(node) <= {"delete", "compact"} or not node:
            yield f"{inner}: is not a list of cleanup policies"

    yield from _fields(
        path,
        value,
        {"cleanup.policy": policies, "retention.ms": _positive},
        {
            "segment.ms": _positive,
            "max.message.bytes": _positive,
            "min.insync.replicas": _positive,
            "message.timestamp.type": _exactly("CreateTime", "LogAppendTime"),
        },
    )


def _operation(path: str, value: Any) -> Iterator[str]:
    yield from _fields(
        path,
        value,
        {"action": _exactly("send", "receive"), "channel": _reference_to("channels")},
        {"bindings": _kafka({"groupId": _schema})},
    )


def _message(path: str, value: Any) -> Iterator[str]:
    yield from _fields(
        path,
        value,
        {
            "name": _text,
            "title": _text,
            "summary": _text,
            "contentType": _text,
            "headers": _schema,
            "payload": _schema,
            "bindings": _kafka({"key": _schema}),
        },
    )


def _walk(path: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _walk(f"{path}/{index}", item)
    elif isinstance(node, dict):
        yield path, node
        for name, item in node.items():
            yield from _walk(f"{path}/{name}", item)


def resolve(document: dict[str, Any], reference: str) -> Any:
    """What a local reference leads to. Raises :class:`KeyError`."""
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def _references(document: dict[str, Any]) -> Iterator[str]:
    for path, node in _walk("#", document):
        if isinstance(reference := node.get("$ref"), str):
            try:
                resolve(document, reference)
            except KeyError:
                yield f"{path}: {reference} leads nowhere"


def _operation_channels(document: dict[str, Any]) -> Iterator[str]:
    receivers = [operation for operation in document["operations"].values() if operation.get("action") == "receive"]
    if any("bindings" not in operation for operation in receivers):
        yield "#/operations: a receiver has no consumer group"
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    for name in document["channels"].keys() - used:
        yield f"#/channels/{name}: no operation uses this channel"
