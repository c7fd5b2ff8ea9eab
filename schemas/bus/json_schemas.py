"""Generates JSON Schemas of the events' data as a consumer sees them: unknown fields are ignored, not refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from schemas.bus.envelope import data_schema
from schemas.bus.events import EVENT_TYPES

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LOCAL_REFERENCE = "#/$defs/{model}"


class _Untitled(GenerateJsonSchema):
    """pydantic titles each field with its own name in other spelling, which is noise in a diff."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def golden_schema(event_type: str) -> Schema:
    """The JSON Schema (2020-12) of one event type's data."""
    model = EVENT_TYPES[event_type]
    schema = model.model_json_schema(ref_template=LOCAL_REFERENCE, schema_generator=_Untitled)
    return {"$schema": DIALECT, "$id": data_schema(event_type), **_tolerant(schema, schema.get("$defs", {}))}


def shared_definitions(models: Sequence[type[BaseModel]], ref_template: str) -> dict[str, Schema]:
    """The schemas of several models and of all that they refer to, by model name."""
    _, schema = models_json_schema(
        [(model, "validation") for model in models], ref_template=ref_template, schema_generator=_Untitled
    )
    definitions: dict[str, Schema] = schema["$defs"]
    opened: dict[str, Schema] = _tolerant(definitions, definitions)
    return opened


def _tolerant(schema: Any, definitions: dict[str, Schema]) -> Any:
    _require_discriminators(schema, definitions)
    return _opened(schema)


def _require_discriminators(node: Any, definitions: dict[str, Schema]) -> None:
    """What tells alternatives apart must be there, although it has a default where one is built in code."""
    if isinstance(node, list):
        for item in node:
            _require_discriminators(item, definitions)
    elif isinstance(node, dict):
        if isinstance(discriminator := node.get("discriminator"), dict):
            for target in discriminator["mapping"].values():
                required = definitions[target.rpartition("/")[2]].setdefault("required", [])
                if discriminator["propertyName"] not in required:
                    required.insert(0, discriminator["propertyName"])
        for value in node.values():
            _require_discriminators(value, definitions)


def _opened(node: Any) -> Any:
    """``node`` without the refusal of unknown fields."""
    if isinstance(node, list):
        return [_opened(item) for item in node]
    if isinstance(node, dict):
        return {k: _opened(v) for k, v in node.items() if not (k == "additionalProperties" and v is False)}
    return node
