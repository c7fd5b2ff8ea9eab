"""A published version of an event's schema never changes in a way that breaks somebody."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.bus.events import EVENT_TYPES
from schemas.bus.json_schemas import golden_schema
from schemas.generate import golden_file
from tests.fixtures.compatibility import REMEDY, breaking_changes
from tests.fixtures.examples import examples
from tests.unit.event_strategies import data_of, event_types
from tests.unit.golden_history import EarlierVersion, History, history

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


def findings(version: EarlierVersion, root: Path = ROOT) -> list[str]:
    present = root / "schemas" / "golden" / version.name
    if not present.is_file():
        return [f"{version.name} of commit {version.commit[:9]}: the event type was removed"]
    changes = breaking_changes(json.loads(version.content), json.loads(present.read_text(encoding="utf-8")))
    return [f"{version.name} against commit {version.commit[:9]}: {change}" for change in changes]


# --- against what was published


def test_no_golden_schema_breaks_any_version_that_was_ever_committed() -> None:
    known = history(ROOT)
    broken = [finding for version in known.earlier for finding in findings(version)]
    assert not broken, "\n".join([*broken, REMEDY])
    if not known.earlier and not known.is_complete:
        pytest.skip("compared with nothing: this clone does not hold earlier versions (git fetch --unshallow)")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A repository whose golden folder went through two versions of one schema and lost another."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    golden = tmp_path / "schemas" / "golden"
    golden.mkdir(parents=True)
    git("init", "-q", "-b", "main")
    narrow = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    (golden / "x.v1.schema.json").write_text(json.dumps(narrow))
    (golden / "gone.v1.schema.json").write_text(json.dumps(narrow))
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (golden / "gone.v1.schema.json").unlink()
    (golden / "x.v1.schema.json").write_text(json.dumps({**narrow, "required": ["a", "b"]}))
    git("add", "-A")
    git("commit", "-q", "-m", "second")
    return tmp_path


def test_a_change_that_was_committed_long_ago_is_still_compared_with(published: Path) -> None:
    known = history(published)
    assert known.is_complete
    assert sorted(version.name for version in known.earlier) == ["gone.v1.schema.json", "x.v1.schema.json"]
    broken = [finding.split(": ", 1)[1] for version in known.earlier for finding in findings(version, published)]
    assert sorted(broken) == [
        "the data: the property 'b' is new and required: messages that were written without it are refused",
        "the event type was removed",
    ]


def test_a_change_in_the_working_tree_is_compared_with_the_last_commit(published: Path) -> None:
    present = published / "schemas" / "golden" / "x.v1.schema.json"
    present.write_text(json.dumps({**json.loads(present.read_text()), "properties": {}}))
    changes = [finding for version in history(published).earlier for finding in findings(version, published)]
    assert any("a: the property was removed" in change for change in changes)


def test_a_shallow_clone_and_a_bare_folder_say_that_they_know_nothing(published: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", published.as_uri(), str(clone)], check=True)
    assert history(clone) == History((), is_complete=False)
    (tmp_path / "bare").mkdir()
    assert history(tmp_path / "bare") == History((), is_complete=False)


# --- pairs made by hand

OLD: Json = {
    "$id": "urn:sanolith:schema:x:v1",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 10},
        "ratio": {"type": "number", "exclusiveMinimum": 0.0},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1},
        "at": {"type": "string", "format": "date-time"},
        "open": {"type": "object", "additionalProperties": {"type": "integer"}},
        "content": {
            "discriminator": {"propertyName": "kind", "mapping": {"p": "#/$defs/P", "q": "#/$defs/Q"}},
            "oneOf": [{"$ref": "#/$defs/P"}, {"$ref": "#/$defs/Q"}],
        },
        "nested": {"$ref": "#/$defs/P"},
    },
    "required": ["id", "kind"],
    "$defs": {
        "P": {
            "title": "P",
            "type": "object",
            "properties": {"kind": {"const": "p", "type": "string"}, "x": {"type": "integer"}},
            "required": ["kind"],
        },
        "Q": {"title": "Q", "type": "object", "properties": {"kind": {"const": "q"}}, "required": ["kind"]},
    },
}


def changed(path: str, value: Any) -> Json:
    """``OLD`` with the value at a slash-separated path replaced, added, or removed by ``...``."""
    new = copy.deepcopy(OLD)
    *parents, last = path.split("/")
    node: Any = new
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if value is ...:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return new


BREAKING = [
    ("properties/count", ..., "count: the property was removed"),
    ("required", ["id", "kind", "count"], "the data: the property 'count' became required"),
    ("required", ["id", "kind", "fresh"], "the data: the property 'fresh' is new and required"),
    ("properties/count/type", "string", "count: the type was narrowed from integer to string"),
    ("properties/ratio/type", "integer", "ratio: the type was narrowed from integer, number to integer"),
    ("properties/id/pattern", "^[a-y]+$", "id: the pattern changed from '^[a-z]+$' to '^[a-y]+$'"),
    ("properties/note/anyOf/0/pattern", "^x$", "note: string is accepted no more"),
    ("properties/note/anyOf", [{"type": "string"}], "note: null is accepted no more"),
    ("properties/count/minimum", 2, "count: minimum was narrowed from 1 to 2"),
    ("properties/count/exclusiveMinimum", 1, "count: exclusiveMinimum was narrowed from none to 1"),
    ("properties/count/maximum", 9, "count: maximum was narrowed from 10 to 9"),
    ("properties/count/exclusiveMaximum", 10, "count: exclusiveMaximum was narrowed from none to 10"),
    ("properties/ratio/maximum", 1.0, "ratio: maximum was narrowed from none to 1.0"),
    ("properties/id/minLength", 3, "id: minLength was narrowed from none to 3"),
    ("properties/names/minItems", 2, "names: minItems was narrowed from 1 to 2"),
    ("properties/names/items/maxLength", 7, "names[]: maxLength was narrowed from 8 to 7"),
    ("properties/names/items", {"type": "integer"}, "names[]: the type was narrowed"),
    ("properties/kind/enum", ["a"], 'kind: ["b"] is accepted no more'),
    ("properties/count/enum", [1, 2], "count: only [1, 2] is accepted now"),
    ("properties/at/format", "date", "at: the format changed from 'date-time' to 'date'"),
    ("properties/open/additionalProperties", {"type": "string"}, "open.*: the type was narrowed"),
    ("properties/open/additionalProperties", False, "open.*: additionalProperties was narrowed"),
    ("properties/content/discriminator/propertyName", "sort", "content: the discriminator changed"),
    ("properties/content/oneOf", [{"$ref": "#/$defs/P"}], "content: Q is accepted no more"),
    ("$defs/Q/properties/kind/const", "r", "content: Q is accepted no more"),
    ("$defs/P/properties/kind/const", "r", 'nested.kind: ["p"] is accepted no more'),
    ("$defs/P/properties/x/minimum", 0, "nested.x: minimum was narrowed from none to 0"),
    ("properties/count/multipleOf", 2, "count: 'multipleOf' changed, which this check cannot judge"),
    ("allOf", [{"required": ["count"]}], "the data: 'allOf' changed, which this check cannot judge"),
]

COMPATIBLE = [
    ("properties/fresh", {"type": "string", "default": "x"}),
    ("properties/fresh", {"$ref": "#/$defs/P"}),
    ("required", ["id"]),
    ("properties/id/pattern", ...),
    ("properties/count/type", "number"),
    ("properties/count", {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}),
    ("properties/count/minimum", 0),
    ("properties/count/minimum", ...),
    ("properties/count/exclusiveMinimum", 0),
    ("properties/count/maximum", 11),
    ("properties/ratio/minimum", 0.0),
    ("properties/kind/enum", ["b", "a", "c"]),
    ("properties/kind", {"type": "string"}),
    ("properties/names/items/maxLength", 9),
    ("properties/names/minItems", 0),
    ("properties/names/items", ...),
    ("properties/open/additionalProperties", {"type": "number"}),
    ("properties/content/oneOf", [{"$ref": "#/$defs/Q"}, {"$ref": "#/$defs/P"}, {"type": "null"}]),
    ("$defs/P/title", "Renamed"),
    ("description", "said better"),
    ("properties/note/default", ""),
    ("$defs/P/properties/y", {"type": "string"}),
]


@pytest.mark.parametrize(("path", "value", "words"), BREAKING)
def test_a_breaking_change_is_reported_in_words(path: str, value: Any, words: str) -> None:
    found = breaking_changes(OLD, changed(path, value))
    assert any(change.startswith(words) for change in found), found


@pytest.mark.parametrize(("path", "value"), COMPATIBLE)
def test_a_compatible_change_is_not_reported(path: str, value: Any) -> None:
    assert breaking_changes(OLD, changed(path, value)) == []


def test_a_renamed_property_is_reported_with_its_likely_new_name() -> None:
    new = changed("properties/total", OLD["properties"]["count"])
    del new["properties"]["count"]
    assert breaking_changes(OLD, new) == ["count: the property was removed (renamed to total?)"]


def test_moving_a_type_into_a_definition_changes_nothing() -> None:
    new = changed("properties/nested", copy.deepcopy(OLD["$defs"]["P"]))
    assert breaking_changes(OLD, new) == []
    assert breaking_changes(new, OLD) == []


def test_the_remedy_says_to_add_a_type_and_publish_both() -> None:
    assert "add a new event type" in REMEDY
    assert "publish both" in REMEDY


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_golden_schema_is_compatible_with_itself_and_breaks_when_a_property_goes(event_type: str) -> None:
    schema = golden_schema(event_type)
    assert breaking_changes(schema, schema) == []
    name = next(iter(schema["properties"]))
    smaller = copy.deepcopy(schema)
    del smaller["properties"][name]
    assert f"{name}: the property was removed" in breaking_changes(schema, smaller)
    assert (ROOT / "schemas" / "golden" / golden_file(event_type)).is_file()


@examples(60)
@given(st.data())
def test_what_an_old_schema_accepted_is_accepted_by_any_that_is_called_compatible(data: st.DataObject) -> None:
    """Mutates keywords of a real schema at random: no mutation that is called compatible may refuse an old message."""
    event_type = data.draw(event_types)
    old = golden_schema(event_type)
    new = copy.deepcopy(old)
    places = [
        (node, name)
        for node in _nodes(new)
        for name in ("minimum", "maximum", "exclusiveMaximum", "enum", "pattern", "type", "required", "anyOf")
        if name in node
    ]
    for node, name in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=2)):
        node[name] = data.draw(_mutations(node[name]))
    if not breaking_changes(old, new):
        Draft202012Validator(new).validate(data.draw(data_of(event_type)))


def _nodes(node: Any) -> list[Json]:
    if isinstance(node, list):
        return [found for item in node for found in _nodes(item)]
    if not isinstance(node, dict):
        return []
    inner = [found for name, item in node.items() if name != "properties" for found in _nodes(item)]
    return [node, *inner, *[found for field in node.get("properties", {}).values() for found in _nodes(field)]]


def _mutations(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, list):
        return st.permutations(value).flatmap(
            lambda shuffled: st.integers(1, len(shuffled)).map(lambda n: shuffled[:n])
        )
    if isinstance(value, str):
        return st.sampled_from([value, "number", "integer"] if value in {"number", "integer"} else [value])
    return st.integers(-2, 2).map(lambda step: value + step)
