"""Hypothesis strategies for events, made from the golden JSON Schemas: what those accept is what others may send."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

from hypothesis import strategies as st

from schemas.base.identifiers import OPAQUE_ID_PATTERN, TENANT_ID_PATTERN
from schemas.bus.content import ClaimCheck, Committed
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES, EventData, ExampleApproved, ReplicaRegistered
from schemas.bus.json_schemas import golden_schema

Json = dict[str, Any]

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def matching(pattern: str) -> st.SearchStrategy[str]:
    """Strings that match the whole of an anchored ASCII pattern."""
    return st.from_regex(re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII), fullmatch=True)


tenants = matching(TENANT_ID_PATTERN)
opaque_ids = matching(OPAQUE_ID_PATTERN)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)) | st.sampled_from(
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    ]
)
"""With the first and the last that can be written, which are outside of the years 1 to 9999 in UTC."""


def values(root: Json, node: Json) -> st.SearchStrategy[Any]:
    """Instances of a JSON Schema, as far as the contract uses the language."""
    if "$ref" in node:
        return st.deferred(lambda: values(root, root["$defs"][node["$ref"].rpartition("/")[2]]))
    if options := node.get("anyOf") or node.get("oneOf"):
        return st.one_of(*[values(root, option) for option in options])
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    kind = node["type"]
    if kind == "object":
        return _objects(root, node)
    if kind == "array":
        return st.lists(values(root, node["items"]), min_size=node.get("minItems", 0), max_size=3)
    if kind == "string":
        return _strings(node)
    if kind == "integer":
        upper = node["maximum"] if "maximum" in node else node["exclusiveMaximum"] - 1
        return st.integers(node["minimum"], upper) | st.sampled_from([node["minimum"], upper])
    if kind == "number":
        return st.floats(
            node.get("minimum", node.get("exclusiveMinimum")),
            node.get("maximum", node.get("exclusiveMaximum")),
            exclude_min="exclusiveMinimum" in node,
            exclude_max="exclusiveMaximum" in node,
            allow_nan=False,
            allow_infinity=False,
        )
    return {"boolean": st.booleans(), "null": st.none()}[kind]


def _objects(root: Json, node: Json) -> st.SearchStrategy[Any]:
    if "properties" not in node:
        return st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=3)
    required = set(node.get("required", ()))
    fields = {name: values(root, field) for name, field in node["properties"].items()}
    return st.fixed_dictionaries(
        {name: strategy for name, strategy in fields.items() if name in required},
        optional={name: strategy for name, strategy in fields.items() if name not in required},
    )


def _strings(node: Json) -> st.SearchStrategy[str]:
    if node.get("format") == "date-time":
        return moments.map(datetime.isoformat)
    if "pattern" in node:
        shortest = node.get("minLength", 0)
        excluded = node.get("not", {}).get("enum", ())
        return matching(node["pattern"]).filter(lambda text: len(text) >= shortest and text not in excluded)
    return st.text(min_size=node.get("minLength", 0), max_size=node.get("maxLength"))


@cache
def data_of(event_type: str) -> st.SearchStrategy[Json]:
    """JSON data of one event type, as anybody's producer may send it."""
    schema = golden_schema(event_type)
    return values(schema, schema)


event_types = st.sampled_from(sorted(EVENT_TYPES))


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Whole events of every type."""
    event_type = draw(event_types)
    data: EventData = EVENT_TYPES[event_type].model_validate(draw(data_of(event_type)))
    subject = data.replica_id if isinstance(data, ReplicaRegistered) else draw(tenants)
    return Event(
        subject=subject,
        data=data,
        time=draw(moments),
        source=f"/sanolith/{draw(opaque_ids)}",
        causation_id=draw(st.none() | opaque_ids),
        replay_id=draw(st.none() | opaque_ids),
    )


def approved(tenant: str = "t1", example_id: str = "ex-1", version: int = 1) -> Event:
    """An event to change things about."""
    content = Committed(reference=ClaimCheck(example_id=example_id, version=version), commitment="a" * 64)
    data = ExampleApproved(example_id=example_id, version=version, reviewer_id="reviewer-1", content=content)
    return Event(subject=tenant, data=data, time=datetime(2026, 11, 24, 9, 0, tzinfo=UTC), source="/sanolith/import")
