"""The contract of events: golden schemas, stored examples, ids, and what producers and consumers accept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas import generate
from schemas.bus.content import Committed, ExampleContent
from schemas.bus.envelope import Event, MalformedEvent, data_schema, decode, encode, event_id
from schemas.bus.events import EVENT_TYPES, PurgeFenced, TrainingRequested, UsageRecorded
from schemas.bus.json_schemas import golden_schema
from schemas.tenant.hyperparameters import VOCABULARY, Hyperparameters
from tests.fixtures.examples import examples
from tests.unit.event_strategies import JSON_VALUES, approved, data_of, event_types, events, tenants
from tests.unit.stored_examples import StoredExample, stored_examples

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
DIGEST = "a" * 64


# --- golden files


def test_the_golden_files_are_what_the_models_generate() -> None:
    assert generate.stale() == [], "run `python -m schemas.generate`, read the diff, and commit it"


def _integers(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from _integers(child)


def test_every_whole_number_has_bounds_within_which_all_readers_of_json_agree() -> None:
    """What lies beyond has no canonical form: nothing that holds it could be signed, nor any digest be made of it."""
    for event_type in EVENT_TYPES:
        for node in _integers(golden_schema(event_type)):
            greatest = node.get("maximum", node.get("exclusiveMaximum"))
            assert greatest is not None, event_type
            assert -(2**53) < node["minimum"] <= greatest < 2**53, event_type


def test_an_edited_a_missing_and_a_left_over_golden_file_are_each_noticed(tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []
    edited, missing = generate.golden_file("sano.adapter.ready"), generate.golden_file("sano.usage.recorded")
    (tmp_path / edited).write_text((tmp_path / edited).read_text() + " ")
    (tmp_path / missing).unlink()
    (tmp_path / "adapter.gone.v1.schema.json").write_text("{}")
    assert generate.stale(tmp_path) == sorted([edited, missing, "adapter.gone.v1.schema.json"])
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []


def test_the_check_of_the_generator_fails_and_writes_nothing_when_a_file_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"python -m schemas\.generate"):
        generate.main(["--check"], tmp_path)
    assert "out of date: schemas/golden/asyncapi.yaml" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    generate.main([], tmp_path)
    generate.main(["--check"], tmp_path)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_a_golden_schema_is_valid_and_open_to_fields_that_a_newer_producer_adds(event_type: str) -> None:
    schema = golden_schema(event_type)
    Draft202012Validator.check_schema(schema)
    assert "additionalProperties" not in schema
    assert schema["$id"] == data_schema(event_type)


def free_texts(root: dict[str, Any], node: Any, path: str = "") -> Iterator[str]:
    """Where a schema lets any string or any JSON through."""
    if isinstance(node, list):
        for item in node:
            yield from free_texts(root, item, path)
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        yield from free_texts(root, root["$defs"][node["$ref"].rpartition("/")[2]], path)
    if node.get("type") == "string" and not node.keys() & {"const", "enum", "pattern", "format"}:
        yield path
    if node.get("type") == "object" and "properties" not in node:
        yield path
    for keyword in ("anyOf", "oneOf", "items"):
        yield from free_texts(root, node.get(keyword), path)
    for name, field in node.get("properties", {}).items():
        yield from free_texts(root, field, f"{path}.{name}")


def test_no_event_has_a_field_that_free_text_fits_in() -> None:
    golden = {name: golden_schema(name) for name in EVENT_TYPES}
    found = {(name, path) for name, schema in golden.items() for path in free_texts(schema, schema)}
    # A DSSE envelope: its payload is what the replica signed, and the purge consumer refuses any other.
    assert found == {("sano.replica.evicted", ".receipt")}


# --- stored examples


def test_every_event_type_has_a_stored_example() -> None:
    stored = {f"sano.{example.path.parts[-3]}" for example in stored_examples()}
    assert stored == set(EVENT_TYPES)


@pytest.mark.parametrize("example", stored_examples(), ids=str)
def test_a_stored_example_is_read_and_survives_being_written_again(example: StoredExample) -> None:
    event = example.decode()
    assert event.type == f"sano.{example.path.parts[-3]}"
    again = encode(event)
    assert decode(again.key, again.value, again.headers) == event
    assert dict(again.headers)["ce_id"].decode() == example.headers["ce_id"]


@pytest.mark.parametrize("example", stored_examples(), ids=str)
def test_a_stored_example_is_valid_by_the_golden_schema(example: StoredExample) -> None:
    Draft202012Validator(golden_schema(f"sano.{example.path.parts[-3]}")).validate(example.value)


# --- strict producers, tolerant consumers


@examples(50)
@given(events())
def test_every_event_arrives_as_it_was_sent(event: Event) -> None:
    message = encode(event)
    assert message.key == event.subject.encode()
    assert message.topic == EVENT_TYPES[event.type].topic
    assert decode(message.key, message.value, message.headers) == event


@given(event_types.flatmap(lambda name: st.tuples(st.just(name), data_of(name))))
def test_what_the_golden_schema_accepts_a_consumer_can_read(case: tuple[str, dict[str, Any]]) -> None:
    event_type, value = case
    Draft202012Validator(golden_schema(event_type)).validate(value)
    EVENT_TYPES[event_type].model_validate_json(json.dumps(value), extra="ignore")


@examples(25)
@given(events(), st.text(min_size=1).map(lambda name: f"x{name}"), JSON_VALUES)
def test_a_field_from_a_newer_producer_is_ignored_at_every_depth(event: Event, name: str, value: Any) -> None:
    message = encode(event)

    def grown(node: Any) -> Any:
        if isinstance(node, dict):
            return {**{key: grown(inner) for key, inner in node.items()}, name: value}
        return node

    known = json.loads(message.value)
    receipt = known.pop("receipt", None)  # the one field whose content is not the contract's
    data = grown(known) | ({"receipt": receipt} if receipt is not None else {})
    assert decode(message.key, json.dumps(data).encode(), message.headers).data == event.data


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_a_producer_cannot_send_a_field_that_the_contract_does_not_have(event_type: str) -> None:
    example = next(example for example in stored_examples() if f"sano.{example.path.parts[-3]}" == event_type)
    data = example.decode().data.model_dump()
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        EVENT_TYPES[event_type].model_validate({**data, "note": "free text"})


def test_a_producer_cannot_hide_a_field_inside_a_nested_object_either() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TrainingRequested.model_validate(
            {"run_id": "r", "trigger": "operator", "hyperparameters": {"r": 16, "note": "free text"}}
        )


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_number_that_json_cannot_hold_is_refused_before_it_is_sent(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        UsageRecorded(usage_id="u", source="inference", engine_seconds=number)


def test_a_moment_without_a_zone_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        PurgeFenced(purge_id="p", fenced_at=NOW.replace(tzinfo=None), deadline=NOW)
    with pytest.raises(MalformedEvent, match="bad-time"):
        encode(replace(approved(), time=NOW.replace(tzinfo=None)))


@pytest.mark.parametrize("subject", ["", "T1", "t1\n", "t_1", "-t1", "t1/", "Ärzte", "a" * 64])
def test_an_event_for_what_is_no_tenant_is_refused_before_it_is_sent(subject: str) -> None:
    with pytest.raises(MalformedEvent, match="bad-subject"):
        encode(replace(approved(), subject=subject))


def test_clear_text_does_not_fit_where_encrypted_content_belongs() -> None:
    with pytest.raises(ValidationError, match="jwe"):
        Committed.model_validate(
            {"reference": {"kind": "jwe", "jwe": "Which NSAID do we stock? Naproxen, as always."}, "commitment": DIGEST}
        )


def test_an_example_must_hold_a_question_and_end_with_an_answer() -> None:
    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    ExampleContent.model_validate({"messages": [question, answer], "salt": "0" * 64})
    for messages in ([answer, question], [answer, answer], [question], []):
        with pytest.raises(ValidationError):
            ExampleContent.model_validate({"messages": messages, "salt": "0" * 64})


# --- ids


def test_the_id_is_a_function_of_type_tenant_and_natural_key_for_ever() -> None:
    assert event_id("sano.example.approved", "t1", "ex-1|1") == "0d3a1ff4-5978-56d0-9060-31261561d45a"


def test_time_source_trace_and_cause_do_not_make_another_event() -> None:
    event = approved()
    later = replace(
        event, time=NOW + timedelta(days=1), source="/else", causation_id="c", replay_id="r", traceparent="00-1"
    )
    assert later.id == event.id


@examples(20)
@given(st.lists(events(), min_size=2, max_size=6))
def test_events_share_an_id_only_when_type_tenant_and_natural_key_are_the_same(drawn: list[Event]) -> None:
    identities = {(event.type, event.subject, event.data.natural_key()): event.id for event in drawn}
    assert len(set(identities.values())) == len(identities)


@given(tenants, tenants)
def test_one_tenants_event_never_has_the_id_of_anothers(one: str, other: str) -> None:
    assert (approved(one).id == approved(other).id) == (one == other)


def test_hyperparameters_name_modules_and_no_paths() -> None:
    for name in ("../q_proj", "q proj", "", "q_proj\n", re.escape("q.proj")):
        with pytest.raises(ValidationError):
            Hyperparameters(target_modules=(name,))


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_hyperparameters_that_name_the_vocabulary_are_refused_and_the_schema_says_so(name: str) -> None:
    with pytest.raises(ValidationError, match="not served"):
        Hyperparameters(target_modules=("q_proj", name))
    schema = golden_schema("sano.training.requested")
    assert name in schema["$defs"]["Hyperparameters"]["properties"]["target_modules"]["items"]["not"]["enum"]


def test_hyperparameters_without_any_module_are_refused_and_none_is_published() -> None:
    with pytest.raises(ValidationError):
        Hyperparameters(target_modules=())
    schema = golden_schema("sano.training.requested")
    assert schema["$defs"]["Hyperparameters"]["properties"]["target_modules"]["minItems"] == 1
