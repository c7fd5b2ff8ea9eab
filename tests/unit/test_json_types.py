"""A consumer takes the JSON types that the golden schemas name, and turns no other type into one of these."""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel, ValidationError

from schemas.base.contract import Contract, read_tolerant
from schemas.bus import dead_letters
from schemas.bus.envelope import MalformedEvent, decode
from schemas.bus.events import EVENT_TYPES
from schemas.bus.json_schemas import golden_schema
from schemas.evidence import audit, statements
from schemas.objects import crash_marker, curation, exports, purges, replicas, state, training, usage, withdrawals
from schemas.tenant import holds
from tests.fixtures.examples import examples
from tests.unit.event_strategies import JSON_VALUES, data_of
from tests.unit.stored_examples import StoredExample, stored_examples

FORMATS = FormatChecker(formats=())
"""``format`` is an annotation in JSON Schema 2020-12; what this contract means by it is RFC 3339 with a zone."""
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


@FORMATS.checks("date-time")
def _is_moment(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return RFC_3339.fullmatch(value) is not None and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


OTHER_TYPES: tuple[Any, ...] = ("1", "true", "", 0, 1, -1, 1.5, 2**53, True, False, None, [], [1], {}, {"x": 1}, "2026")
"""One value or more of every JSON type, with those among them that languages take for each other."""

Path = tuple[str | int, ...]


def leaves(node: Any, path: Path = ()) -> list[Path]:
    """Where a leaf, an array or an object lies in a JSON value."""
    children: list[tuple[str | int, Any]] = []
    if isinstance(node, dict):
        children = [(name, value) for name, value in node.items()]
    if isinstance(node, list):
        children = list(enumerate(node))
    return [*([path] if path else []), *(found for name, value in children for found in leaves(value, (*path, name)))]


def with_value(data: Any, path: Path, value: Any) -> Any:
    """A copy of ``data`` in which ``value`` stands at ``path``."""
    changed = copy.deepcopy(data)
    node = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


def holds_whole_float(node: Any) -> bool:
    """Whether a number like ``1.0`` is in it: an integer to JSON Schema, and to a consumer only where any number is."""
    if isinstance(node, dict):
        return any(holds_whole_float(value) for value in node.values())
    if isinstance(node, list):
        return any(holds_whole_float(value) for value in node)
    return isinstance(node, float) and node.is_integer()


@cache
def validator(event_type: str) -> Draft202012Validator:
    return Draft202012Validator(golden_schema(event_type), format_checker=FORMATS)


def schema_accepts(event_type: str, value: Any) -> bool:
    return bool(validator(event_type).is_valid(value))


def consumer_accepts(event_type: str, value: Any) -> bool:
    try:
        read_tolerant(EVENT_TYPES[event_type], json.dumps(value))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("example", stored_examples(), ids=str)
def test_with_another_json_type_anywhere_a_stored_example_is_read_where_its_schema_allows_that(
    example: StoredExample,
) -> None:
    event_type = f"sano.{example.path.parts[-3]}"
    paths = [path for path in leaves(example.value) if path[0] != "receipt" or len(path) == 1]
    for path in paths:
        for other in OTHER_TYPES:
            changed = with_value(example.value, path, other)
            assert consumer_accepts(event_type, changed) == schema_accepts(event_type, changed), (path, other)


@examples(80)
@given(st.data())
def test_with_any_json_anywhere_data_is_read_where_its_schema_allows_that(data: st.DataObject) -> None:
    event_type = data.draw(st.sampled_from(sorted(EVENT_TYPES)))
    value = data.draw(data_of(event_type))
    path = data.draw(st.sampled_from(leaves(value)) if value else st.just(("version",)))
    changed = with_value(value, path, data.draw(JSON_VALUES | st.sampled_from(OTHER_TYPES)))
    is_read = consumer_accepts(event_type, changed)
    if is_read or not holds_whole_float(changed):
        assert is_read == schema_accepts(event_type, changed)


@pytest.mark.parametrize("version", ['"1"', "true", "1.0", "1.5", "null", "[1]"])
def test_a_version_that_is_not_an_integer_is_a_dead_letter_that_says_where(version: str) -> None:
    """``1.0`` too, which JSON Schema calls an integer: no producer needs it, and others parse it as another number."""
    example = next(one for one in stored_examples() if one.path.parts[-3] == "consent.granted")
    value = json.dumps(example.value).replace('"version": 1', f'"version": {version}').encode()
    headers = [(name, text.encode()) for name, text in example.headers.items()]
    with pytest.raises(MalformedEvent, match="version: int_type") as refused:
        decode(example.key.encode(), value, headers)
    assert refused.value.code == "invalid-data"


# --- records


def contract_models() -> list[type[BaseModel]]:
    """Every model of the contract that is stored, sent or signed."""
    records = (crash_marker, curation, exports, purges, replicas, state, training, usage, withdrawals)
    modules = (audit, dead_letters, holds, statements, *records)
    own = {held for module in modules for held in vars(module).values() if isinstance(held, type)}
    found = {held for held in own if issubclass(held, Contract) and held is not Contract}
    return sorted(found | set(EVENT_TYPES.values()), key=lambda model: model.__name__)


def test_every_moment_of_every_model_must_have_a_zone() -> None:
    for model in contract_models():
        for name, field in model.model_fields.items():
            spelled = str(field.rebuild_annotation())
            assert "datetime.datetime" not in spelled, f"{model.__name__}.{name} takes a time without a zone"
            assert spelled.count("AwareDatetime") == spelled.count("_written_out"), (
                f"{model.__name__}.{name}: a Timestamp"
            )


def test_a_lease_whose_end_has_no_zone_is_refused() -> None:
    times = {"started_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00"}
    body = {"replica_id": "replica-0", "base_model_digest": "a" * 64, **times}
    with pytest.raises(ValidationError, match="time zone"):
        read_tolerant(replicas.ReplicaRecord, json.dumps(body))


@pytest.mark.parametrize("body", [{"seq": "1"}, {"seq": True}])
def test_records_are_read_as_strictly_as_events_from_bytes_and_from_parsed_json(body: dict[str, Any]) -> None:
    head = {"entry_sha256": "a" * 64, "moved_at": "2026-01-01T00:00:00Z", **body}
    for given_body in (head, json.dumps(head)):
        with pytest.raises(ValidationError, match="valid integer"):
            read_tolerant(audit.AuditHead, given_body)
    assert read_tolerant(audit.AuditHead, {**head, "seq": 1}) == read_tolerant(
        audit.AuditHead, json.dumps({**head, "seq": 1})
    )
