"""What decode refuses, by which code, and that nothing makes it fail in any other way."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bus import envelope
from schemas.bus.envelope import Event, MalformedEvent, decode, encode
from schemas.bus.events import ReplicaRegistered
from tests.fixtures.examples import examples
from tests.unit.event_strategies import JSON_VALUES, approved, events

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
DIGEST = "a" * 64
Headers = list[tuple[str, bytes | None]]

Message = tuple[bytes | None, bytes | None, Headers]
Break = Callable[[bytes, bytes, dict[str, bytes | None]], Message]


def with_headers(**changed: bytes | None) -> Break:
    spelled = {("content-type" if name == "content_type" else name): value for name, value in changed.items()}
    return lambda key, value, headers: (key, value, list({**headers, **spelled}.items()))


def without_header(name: str) -> Break:
    return lambda key, value, headers: (key, value, [item for item in headers.items() if item[0] != name])


def with_value(value: bytes | None) -> Break:
    return lambda key, _, headers: (key, value, list(headers.items()))


def with_key(key: bytes | None) -> Break:
    return lambda _, value, headers: (key, value, list(headers.items()))


def with_subject(subject: bytes) -> Break:
    return lambda _, value, headers: (subject, value, list({**headers, "ce_subject": subject}.items()))


BROKEN: list[tuple[str, Break]] = [
    ("null-header", with_headers(ce_id=None)),
    ("null-header", with_headers(unrelated=None)),
    ("header-not-utf8", with_headers(ce_source=b"\xff")),
    ("header-not-utf8", with_headers(unrelated=b"\xc3")),
    ("no-specversion", without_header("ce_specversion")),
    ("no-specversion", with_headers(ce_specversion=b"0.3")),
    ("missing-attribute", without_header("ce_type")),
    ("missing-attribute", without_header("ce_subject")),
    ("missing-attribute", without_header("ce_time")),
    ("missing-attribute", without_header("ce_id")),
    ("missing-attribute", with_headers(ce_source=b"")),
    ("unknown-type", with_headers(ce_type=b"sano.example.adored")),
    ("key-mismatch", with_key(None)),
    ("key-mismatch", with_key(b"t2")),
    ("key-mismatch", with_key(b"t1 ")),
    ("key-mismatch", with_headers(ce_subject=b"t2")),
    ("bad-subject", with_subject(b"T1")),
    ("bad-subject", with_subject(b"t1/../t2")),
    ("bad-subject", with_subject(b"t1\n")),
    ("no-data", with_value(None)),
    ("no-data", with_value(b"")),
    ("invalid-data", with_value(b"null")),
    ("invalid-data", with_value(b"[]")),
    ("invalid-data", with_value(b"{")),
    ("invalid-data", with_value(b"\xff\xfe")),
    ("invalid-data", with_value(b"[" * 100_000)),
    ("invalid-data", with_value(b'{"example_id": "../t2", "version": 1}')),
    ("bad-time", with_headers(ce_time=b"yesterday")),
    ("bad-time", with_headers(ce_time=b"2026-11-24T09:00:00")),
    ("bad-time", with_headers(ce_time=b"20261124T090000Z")),
    ("bad-time", with_headers(ce_time=b"2026-W48-2T09:00:00+00:00")),
    ("bad-time", with_headers(ce_time=b"1764000000")),
    ("bad-time", with_headers(ce_time=b"2026-11-24T25:00:00Z")),
    ("bad-attribute", with_headers(ce_causationid=b"two words")),
    ("bad-attribute", with_headers(ce_replayid=b"../up")),
    ("id-mismatch", with_headers(ce_id=b"00000000-0000-0000-0000-000000000000")),
    ("id-mismatch", with_subject(b"t2")),
]


@pytest.mark.parametrize(("code", "broken"), BROKEN)
def test_a_message_that_is_no_event_of_the_contract_is_refused_by_a_code(code: str, broken: Break) -> None:
    message = encode(approved())
    with pytest.raises(MalformedEvent) as refused:
        decode(*broken(message.key, message.value, dict(message.headers)))
    assert refused.value.code == code
    assert str(refused.value).startswith(f"{code}: ")


def test_every_code_of_refusal_is_tried_here() -> None:
    tree = ast.parse(inspect.getsource(envelope))
    codes = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "MalformedEvent"
        and isinstance(call.args[0], ast.Constant)
    }
    assert codes == {code for code, _ in BROKEN}


def test_an_event_cannot_pose_as_one_of_another_tenant_although_its_key_and_subject_agree() -> None:
    message = encode(approved("t1"))
    headers = [(name, b"t10" if name == "ce_subject" else value) for name, value in message.headers]
    with pytest.raises(MalformedEvent, match="id-mismatch"):
        decode(b"t10", message.value, headers)


def test_a_replicas_own_event_is_believed_only_under_its_own_name() -> None:
    data = ReplicaRegistered(replica_id="Replica.1", base_model_digest=DIGEST)
    event = Event(subject="Replica.1", data=data, time=NOW, source="/sanolith/inference")
    message = encode(event)
    assert decode(message.key, message.value, message.headers) == event
    with pytest.raises(MalformedEvent, match="bad-subject"):
        encode(replace(event, subject="another"))
    headers = [(name, b"another" if name == "ce_subject" else value) for name, value in message.headers]
    with pytest.raises(MalformedEvent, match="bad-subject"):
        decode(b"another", message.value, headers)


def test_a_trace_context_that_nobody_can_parse_does_not_cost_the_event() -> None:
    message = encode(approved())
    assert decode(message.key, message.value, [*message.headers, ("traceparent", b"no trace")]).traceparent is None


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    event = replace(approved(), time=NOW.astimezone(timezone(timedelta(hours=-7))))
    message = encode(event)
    assert decode(message.key, message.value, message.headers).time == NOW


@examples(100)
@given(st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(st.text(), st.none() | st.binary())))
def test_no_bytes_make_decode_fail_in_another_way(key: bytes | None, value: bytes | None, headers: Headers) -> None:
    with pytest.raises(MalformedEvent):
        decode(key, value, headers)


@examples(100)
@given(events(), JSON_VALUES)
def test_no_json_makes_decode_fail_in_another_way(event: Event, value: Any) -> None:
    message = encode(event)
    try:
        decoded = decode(message.key, json.dumps(value).encode(), message.headers)
    except MalformedEvent:
        return
    assert decoded.id == event.id
