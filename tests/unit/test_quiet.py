"""Invariant 9: keys, names, labels, span attributes, logs and error texts never carry what people wrote.

Every test plants a canary where content could be, and then looks for it everywhere that outlives the moment.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from pythonjsonlogger.json import JsonFormatter

from consumers.runtime.dead_letters import Reason, dead_letter
from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.poison import Poison
from consumers.runtime.policy import HandlingPolicy
from producers.cli.errors import in_one_line
from producers.commands.onboarding import onboard
from producers.sources.approvals_file import read_approvals
from producers.sources.importing import import_approvals
from schemas.bus.dead_letters import REASON_HEADERS
from schemas.bus.envelope import Event, MalformedEvent, decode, encode
from schemas.bus.events import EventData, ExampleApproved
from schemas.bus.outcome import Outcome
from schemas.models.adapter_files import AdapterRefused, check_adapter
from schemas.models.heldout import HeldoutFileError, read_heldout
from schemas.objects import object_keys
from schemas.objects.object_keys import ForbiddenKey
from schemas.objects.state import TenantState
from schemas.objects.training import LeaseRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused, SealBroken
from tenancy.platform.logs import SCOPE
from tenancy.service.telemetry import Telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.fixtures.gates import gate_of_tests
from tests.fixtures.records import record_of
from tests.fixtures.telemetry import observed
from tests.unit.event_strategies import approved, events
from tests.world.effects import ObservedObjectStore, ObservedPublisher

CANARY = "canary-8841"
WRITTEN = f"Frau Müller, MRN {CANARY}"
TENANT = TenantId("t1")
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
WHOLE_SECRETS = st.sampled_from([WRITTEN, CANARY, [WRITTEN], {WRITTEN: WRITTEN}, {"type": WRITTEN}])


def told(error: BaseException) -> str:
    """All that a log of this error shows: its text, and the tracebacks of what led to it."""
    return str(error) + repr(error) + "".join(traceback.format_exception(error))


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield from places(value, (*path, name))


def planted(node: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(node)
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return changed


# --- events


@examples(50)
@given(events(), st.data())
def test_the_refusal_of_an_event_does_not_quote_any_field_of_it(event: Event, data: st.DataObject) -> None:
    message = encode(event)
    value = json.loads(message.value)
    place = data.draw(st.sampled_from(list(places(value))))
    body = json.dumps(planted(value, place, data.draw(WHOLE_SECRETS)), ensure_ascii=data.draw(st.booleans()))
    try:
        decode(message.key, body.encode(), message.headers)
    except MalformedEvent as error:
        assert CANARY not in told(error)


@examples(25)
@given(events(), st.data())
def test_the_refusal_of_an_event_does_not_quote_its_key_or_its_headers(event: Event, data: st.DataObject) -> None:
    message = encode(event)
    names = [name for name, _ in message.headers] + ["ce_causationid", "ce_replayid", "traceparent", WRITTEN]
    spoiled = {**dict(message.headers), data.draw(st.sampled_from(names)): WRITTEN.encode()}
    for key in (message.key, WRITTEN.encode()):
        try:
            decode(key, message.value, list(spoiled.items()))
        except MalformedEvent as error:
            assert CANARY not in told(error)
    with pytest.raises(MalformedEvent) as refused:
        decode(WRITTEN.encode(), message.value, [*message.headers, ("ce_subject", WRITTEN.encode())])
    assert CANARY not in told(refused.value)


@examples(25)
@given(st.text(), st.binary())
def test_a_body_that_is_not_json_is_not_quoted(text: str, noise: bytes) -> None:
    message = encode(approved())
    for body in (WRITTEN.encode(), f'{{"{WRITTEN}": '.encode(), WRITTEN.encode() + noise, noise + WRITTEN.encode()):
        with pytest.raises(MalformedEvent) as refused:
            decode(message.key, body, message.headers)
        assert CANARY not in told(refused.value)


def test_an_event_for_what_is_no_tenant_is_refused_without_naming_it() -> None:
    with pytest.raises(MalformedEvent) as refused:
        encode(Event(WRITTEN, approved().data, NOW, "/sanolith/test"))
    assert CANARY not in told(refused.value)


# --- the tenant boundary


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def objects() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def tenancy(objects: MemoryObjectStore, publisher: RecordingPublisher) -> Tenancy:
    return assemble(objects, KeyFileMasterKey(bytes(range(32))), publisher, "/sanolith/test", lambda: NOW)


async def onboarded(tenancy: Tenancy) -> None:
    await tenancy.states.create(TenantState(tenant=TENANT, nonce="n"))
    await tenancy.keys.create(TENANT)


async def test_a_sealed_object_that_is_not_what_it_should_be_is_not_quoted(
    tenancy: Tenancy, objects: MemoryObjectStore
) -> None:
    await onboarded(tenancy)
    store = await tenancy.store(TENANT)
    for body in (WRITTEN, json.dumps({"run_id": WRITTEN}), json.dumps(WRITTEN)):
        await store.put("runs/r1/lease.json", body.encode())
        with pytest.raises(SealBroken) as refused:
            await store.get_record("runs/r1/lease.json", LeaseRecord)
        assert CANARY not in told(refused.value)
    await objects.put("tenants/t1/runs/r1/lease.json", WRITTEN.encode())
    with pytest.raises(SealBroken) as refused:
        await store.get("runs/r1/lease.json")
    assert CANARY not in told(refused.value)


async def test_a_key_that_may_not_be_is_not_quoted(tenancy: Tenancy) -> None:
    await onboarded(tenancy)
    store = await tenancy.store(TENANT)
    for relative in (WRITTEN, f"examples/{WRITTEN}", f"{WRITTEN}/x", f"examples/../{WRITTEN}"):
        with pytest.raises(ForbiddenKey) as refused:
            await store.put(relative, b"x")
        assert CANARY not in told(refused.value)
    for make in (
        object_keys.tenant_prefix,
        object_keys.replica_key,
        object_keys.purges_prefix,
        lambda text: object_keys.purge_key("t1", text),
        object_keys.state_key,
    ):
        with pytest.raises(ForbiddenKey) as refused:
            make(WRITTEN)
        assert CANARY not in told(refused.value)


def test_what_is_no_tenant_id_is_not_quoted() -> None:
    with pytest.raises(Refused) as refused:
        TenantId(WRITTEN)
    assert CANARY not in told(refused.value)


async def test_keys_do_not_show_in_what_a_debugger_or_a_log_prints_of_their_holders(tenancy: Tenancy) -> None:
    await onboarded(tenancy)
    keys = await tenancy.keys.open(TENANT)
    master = KeyFileMasterKey(bytes(range(32)))
    for holder in (keys, await tenancy.store(TENANT), master, tenancy):
        assert repr(keys.data_key) not in repr(holder)
        assert repr(master.key) not in repr(holder)


def test_an_adapter_that_is_refused_is_not_quoted() -> None:
    for files in (
        {WRITTEN: b""},
        {"adapter_config.json": WRITTEN.encode(), "adapter_model.safetensors": WRITTEN.encode()},
        {"adapter_config.json": json.dumps({"peft_type": WRITTEN}).encode(), "adapter_model.safetensors": b""},
    ):
        with pytest.raises(AdapterRefused) as refused:
            check_adapter(files)
        assert CANARY not in told(refused.value)


# --- files of approvals and of held-out questions

LINE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    "reviewer": "reviewer-1",
    "consent": "consent-1",
    "example_id": "ex-1",
    "version": 1,
}


@pytest.mark.parametrize("value", [WRITTEN, [WRITTEN], {WRITTEN: WRITTEN}], ids=["text", "list", "object"])
@pytest.mark.parametrize("place", [*places(LINE), ("note",)], ids=str)
def test_a_line_that_is_refused_is_not_quoted(tmp_path: Path, place: tuple[str | int, ...], value: Any) -> None:
    path = tmp_path / "approvals.jsonl"
    path.write_text(json.dumps(planted(LINE, place, value)) + "\n", encoding="utf-8")
    try:
        read_approvals(path)
    except Refused as refusal:
        assert CANARY not in told(refusal)
        assert CANARY not in in_one_line(refusal)
    else:
        assert place[-1] == "content", "only content may hold what people wrote"


def test_a_held_out_line_that_is_refused_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "heldout.jsonl"
    for line in (WRITTEN, json.dumps({"id": WRITTEN}), json.dumps({WRITTEN: 1}), json.dumps([WRITTEN])):
        path.write_text(line + "\n", encoding="utf-8")
        with pytest.raises(HeldoutFileError) as refused:
            read_heldout(path)
        assert CANARY not in told(refused.value)


def test_an_error_that_nobody_foresaw_is_told_to_the_operator_without_its_text() -> None:
    try:
        raise ValueError(WRITTEN)
    except ValueError as error:
        assert CANARY not in in_one_line(error)


async def test_an_import_leaves_what_people_wrote_nowhere_but_sealed(tmp_path: Path) -> None:
    effects: list[str] = []

    class Notes:
        def before(self, effect: str) -> None:
            effects.append(effect)

        after = before

    objects, publisher = MemoryObjectStore(), RecordingPublisher()
    tenancy = assemble(
        ObservedObjectStore(objects, Notes()),
        KeyFileMasterKey(bytes(range(32))),
        ObservedPublisher(publisher, Notes()),
        "/sanolith/test",
        lambda: NOW,
    )
    await onboard(tenancy, TENANT, TenantPolicy())
    messages = [{"role": "user", "content": WRITTEN}, {"role": "assistant", "content": f"{WRITTEN}!"}]
    path = tmp_path / "approvals.jsonl"
    lines = [{"messages": messages, "reviewer": "reviewer-1", "consent": "consent-1"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    await import_approvals(path, TENANT, tenancy, gate_of_tests)

    assert any(isinstance(event.data, ExampleApproved) for event in publisher.events)
    for event in publisher.events:
        message = encode(event)
        assert CANARY.encode() not in b"".join([message.key, message.value, *(v for _, v in message.headers)])
    for key, versions in objects.objects.items():
        assert CANARY not in key
        assert all(CANARY.encode() not in (version.body or b"") for version in versions)
    assert CANARY not in repr(effects)
    contents = [key async for key in (await tenancy.store(TENANT)).list("contents")]
    assert CANARY.encode() in (await (await tenancy.store(TENANT)).get(contents[0]))[0], "or nothing was looked at"


# --- the runtime's logs, spans, metrics and dead letters


@dataclass
class Watch:
    """Everything that leaves a consumer besides events."""

    telemetry: Telemetry
    spans: InMemorySpanExporter
    metrics: InMemoryMetricReader
    log: io.StringIO

    def everything(self) -> str:
        data = self.metrics.get_metrics_data()
        return "\n".join(
            [
                self.log.getvalue(),
                *[span.to_json() for span in self.spans.get_finished_spans()],
                data.to_json() if data is not None else "",
            ]
        )


@pytest.fixture
def watch() -> Iterator[Watch]:
    spans, reader, log = InMemorySpanExporter(), InMemoryMetricReader(), io.StringIO()
    telemetry = observed("curation", spans, reader, CollectorRegistry())
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter("{levelname}{name}{message}", style="{"))
    logger = logging.getLogger(SCOPE)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield Watch(telemetry, spans, reader, log)
    logger.removeHandler(handler)
    logger.setLevel(level)


def dispatcher(tenancy: Tenancy, watch: Watch, handler: Handler[Tenancy]) -> Dispatcher[Tenancy]:
    handlers: dict[type[EventData], Handler[Tenancy]] = {ExampleApproved: handler}
    policy = HandlingPolicy(attempts=2, backoff_seconds=0.0)
    return Dispatcher("curation", handlers, tenancy, tenancy, watch.telemetry, policy)


async def test_a_handled_event_shows_in_logs_spans_and_metrics_without_tenant_or_content(
    tenancy: Tenancy, watch: Watch
) -> None:
    async def handler(event: Event, _: Any) -> Outcome:
        return Outcome.EFFECT

    event = approved(tenant="tenant-canary-8841", example_id="ex-canary-8841")
    assert await dispatcher(tenancy, watch, handler).handle(record_of(event)) is Outcome.EFFECT
    shown = watch.everything()
    assert "sano.example.approved" in shown
    assert event.id in shown, "the event's own id is what an operator searches by"
    assert CANARY not in shown


async def test_a_malformed_event_shows_by_its_code_only(tenancy: Tenancy, watch: Watch) -> None:
    async def handler(event: Event, _: Any) -> Outcome:
        raise AssertionError("it is not handled")

    record = record_of(approved(), value=json.dumps({"example_id": WRITTEN}).encode())
    with pytest.raises(Poison) as poison:
        await dispatcher(tenancy, watch, handler).handle(record)
    assert CANARY not in told(poison.value)
    assert CANARY not in watch.everything()


async def test_an_exception_that_quotes_content_does_not_reach_log_span_or_dead_letter(
    tenancy: Tenancy, watch: Watch
) -> None:
    async def handler(event: Event, _: Any) -> Outcome:
        raise ValueError(WRITTEN)

    record = record_of(approved())
    with pytest.raises(Poison) as poison:
        await dispatcher(tenancy, watch, handler).handle(record)
    letter = dead_letter(record, Reason(poison.value.code, poison.value.detail, "curation", NOW))
    assert CANARY not in told(poison.value)
    assert CANARY not in repr([item for item in letter.headers if item[0] in REASON_HEADERS])
    assert "handler failed" in watch.log.getvalue()
    assert CANARY not in watch.everything()
