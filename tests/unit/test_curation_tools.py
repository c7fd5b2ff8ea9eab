"""Curation tools: webhooks say only where to look; what is published was read by id, redacted and encrypted."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from joserfc.jwk import OKPKey
from opentelemetry import metrics
from starlette.testclient import TestClient

from producers.sources.curation_tools.argilla import Argilla
from producers.sources.curation_tools.fields import Fields
from producers.sources.curation_tools.http_client import PersonalAccessToken, ToolClient, ToolUnavailable
from producers.sources.curation_tools.label_studio import LabelStudio
from producers.sources.curation_tools.receiver import MOST_WAITING, Receiver
from producers.sources.curation_tools.records import Annotation, Record, current_version
from producers.sources.curation_tools.routes import PATH, Endpoint
from producers.sources.curation_tools.webhooks import Sender
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentGranted, ExampleProposed, ExampleReviewed
from schemas.bus.outcome import Outcome
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME
from tests.unit.operator_parts import NOW, onboarded_parts
from tests.unit.proposal_parts import Review
from tests.unit.source_parts import Bus

TENANT = TenantId("t1")
SECRET = bytes(range(32))
DATASET = "3d0f8a52-5b0c-4d3f-9f3e-6b1e4a1d7c11"
RECORD = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
KEY = SourceKey(bytes(32))
T0 = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

# As GET /api/v1/records/{id} of argilla-server 2.8 answers: its schema `Record`, responses included.
ARGILLA_RECORD: dict[str, Any] = {
    "id": RECORD,
    "status": "pending",
    "fields": {"question": f"May {NAME} have it?", "answer": "No."},
    "metadata": {"author": "dr-who", "consent": "patient-7"},
    "external_id": None,
    "responses": [
        {
            "id": "0b1c2d3e-0000-4000-8000-000000000001",
            "values": {"verdict": {"value": "approve"}, "answer": {"value": "No."}},
            "status": "submitted",
            "record_id": RECORD,
            "user_id": "aaaaaaaa-0000-4000-8000-000000000001",
            "inserted_at": "2026-11-24T10:00:00.000000",
            "updated_at": "2026-11-24T10:00:00.000000",
        },
        {
            "id": "0b1c2d3e-0000-4000-8000-000000000002",
            "values": {"verdict": {"value": "reject"}, "reason": {"value": "Off Policy"}},
            "status": "submitted",
            "record_id": RECORD,
            "user_id": "aaaaaaaa-0000-4000-8000-000000000002",
            "inserted_at": "2026-11-24T10:05:00.000000",
            "updated_at": "2026-11-24T10:05:00.000000",
        },
        {
            "id": "0b1c2d3e-0000-4000-8000-000000000003",
            "values": {"verdict": {"value": "approve"}},
            "status": "draft",
            "record_id": RECORD,
            "user_id": "aaaaaaaa-0000-4000-8000-000000000003",
            "inserted_at": "2026-11-24T10:06:00.000000",
            "updated_at": "2026-11-24T10:06:00.000000",
        },
    ],
    "suggestions": [],
    "vectors": {},
    "dataset_id": DATASET,
    "inserted_at": "2026-11-24T09:00:00.000000",
    "updated_at": "2026-11-24T09:00:00.000000",
}


def a_record(*annotations: Annotation, answer: str = "No.", record_id: str = "7", question: str = "") -> Record:
    return Record(record_id, T0, question or f"May {NAME} have it?", answer, "dr-who", "patient-7", annotations)


def said(annotator: str, minute: int, answer: str = "", verdict: Any = "approved", reason: str | None = None) -> Any:
    return Annotation(annotator, T0 + timedelta(minutes=minute), answer, verdict, reason)


# --- versions and reviews


def test_the_records_own_answer_is_version_1_and_those_who_left_it_review_it() -> None:
    current = current_version(
        a_record(said("a", 1), said("b", 2, verdict="rejected", reason="off-policy")), "x", KEY, TENANT
    )
    assert current is not None
    assert (current.candidate.version, current.candidate.messages[1].content) == (1, "No.")
    assert [(one.verdict, one.reason_code) for one in current.reviews] == [
        ("approved", None),
        ("rejected", "off-policy"),
    ]
    assert "dr-who" not in str(current.candidate.author_id) and "patient" not in str(current.candidate.consent_id)


def test_another_answer_is_a_later_version_which_its_author_does_not_review() -> None:
    edited = a_record(said("a", 1), said("b", 5, "Paracetamol."), said("c", 9, "Paracetamol."))
    current = current_version(edited, "x", KEY, TENANT)
    assert current is not None
    assert current.candidate.version == int((T0 + timedelta(minutes=5)).timestamp() * 1000)
    assert current.candidate.messages[1].content == "Paracetamol."
    [review] = current.reviews
    of_c = current_version(a_record(said("c", 1)), "x", KEY, TENANT)
    assert of_c is not None
    assert review.reviewer_id == of_c.reviews[0].reviewer_id, "c wrote the same and so agrees; a saw another text"
    assert current.candidate.author_id not in (None, review.reviewer_id)


def test_a_record_without_an_answer_is_no_candidate_yet_and_one_without_a_question_is_refused() -> None:
    assert current_version(a_record(answer=" "), "x", KEY, TENANT) is None
    with pytest.raises(Refused, match="no question"):
        current_version(a_record(question=" "), "x", KEY, TENANT)


# --- the service


@dataclass
class FakeTool:
    """A curation tool in memory."""

    records: dict[str, Record] = field(default_factory=dict)
    is_away: bool = False
    asked_since: list[datetime | None] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    name: str = "label-studio"

    async def record(self, record_id: str) -> Record | None:
        if self.is_away:
            raise ToolUnavailable("away")
        self.reads.append(record_id)
        return self.records.get(record_id)

    async def changed(self, since: datetime | None) -> list[str]:
        if self.is_away:
            raise ToolUnavailable("away")
        self.asked_since.append(since)
        return [each for each, record in self.records.items() if since is None or record.updated_at >= since]


@dataclass
class Service:
    bus: Bus
    tool: FakeTool
    receiver: Receiver

    def published(self) -> list[Any]:
        return [event.data for event in self.bus.events]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    parts = await onboarded_parts(TENANT)
    return await made_service(tmp_path, OKPKey.import_key(dict(await parts.tenancy.keys.public_key(TENANT))))


async def made_service(tmp_path: Path, jwk: OKPKey) -> Service:
    bus, tool = Bus(), FakeTool()
    proposer = Proposer(TENANT, jwk, KEY, GATE, bus, "/test", lambda: NOW)
    counter = metrics.get_meter("test").create_counter("records")
    return Service(bus, tool, Receiver(tool, proposer, tmp_path / "position", 3600.0, counter, lambda: T0))


async def test_a_record_becomes_a_consent_a_proposal_and_its_reviews_and_is_said_once(service: Service) -> None:
    service.tool.records["7"] = a_record(said("a", 1), said("b", 2))
    await service.receiver.look_at("7")
    consent, proposal, *reviews = service.published()
    assert isinstance(consent, ConsentGranted) and isinstance(proposal, ExampleProposed)
    assert proposal.source == "curation-tool" and proposal.consent_id == consent.consent_id
    assert [(review.commitment, review.version) for review in reviews] == [(proposal.content.commitment, 1)] * 2
    await service.receiver.look_at("7")
    assert len(service.published()) == 4
    service.tool.records["7"] = a_record(said("a", 1), said("b", 2), said("c", 3))
    await service.receiver.look_at("7")
    assert [type(data) for data in service.published()[4:]] == [ExampleReviewed]


async def test_curation_approves_what_was_reviewed_in_the_tool_as_often_as_it_is_told(tmp_path: Path) -> None:
    parts = await onboarded_parts(TENANT)
    review = Review(parts, TENANT)
    jwk = OKPKey.import_key(dict(await parts.tenancy.keys.public_key(TENANT)))
    for attempt in range(2):  # after a restart everything is said again
        service = await made_service(tmp_path / str(attempt), jwk)
        service.tool.records["7"] = a_record(said("a", 1))
        await service.receiver.look_at("7")
        outcomes = await review.handle(*service.bus.events)
        assert all(o in (Outcome.EFFECT, Outcome.NOOP_DUPLICATE, Outcome.NOOP_STALE) for o in outcomes)
        assert (Outcome.EFFECT in outcomes) == (attempt == 0)
    assert [event.data.type for event in review.log].count("sano.example.approved") >= 1


async def test_nothing_raw_leaves_the_process(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.tool.records["7"] = a_record(said("annotator-mary", 1, verdict="rejected", reason="off-policy"))
    await service.receiver.look_at("7")
    everything = "".join(event.data.model_dump_json() for event in service.bus.events) + caplog.text
    for raw in (NAME, "May ", "dr-who", "patient-7", "annotator-mary"):
        assert raw not in everything


async def test_what_webhooks_lost_the_reconciliation_finds_and_next_time_only_what_changed(service: Service) -> None:
    service.tool.records |= {str(number): a_record(record_id=str(number)) for number in range(3)}
    service.tool.records["bad"] = a_record(record_id="bad", answer="x" * 40_000)
    await service.receiver.reconcile()
    assert len([data for data in service.published() if isinstance(data, ExampleProposed)]) == 3
    await service.receiver.reconcile()
    assert service.tool.asked_since == [None, T0 - timedelta(minutes=10)]
    assert len(service.published()) == 6, "nothing is said twice"


async def test_what_cannot_be_published_now_is_published_by_the_next_reconciliation(service: Service) -> None:
    service.tool.records["7"] = a_record()
    service.bus.is_broken = True
    running = asyncio.create_task(service.receiver.run())
    await service.until(lambda: bool(service.tool.reads))
    assert not service.receiver.is_ready
    service.bus.is_broken = False
    service.receiver.note([])
    await service.until(lambda: len(service.published()) == 2)
    await service.until(lambda: service.receiver.is_ready)
    service.tool.is_away = True
    service.receiver.note([])
    await service.until(lambda: not service.receiver.is_ready)
    assert not running.done(), "it goes on"
    running.cancel()


async def test_a_flood_of_ids_is_bounded_and_one_look_at_all_takes_its_place(service: Service) -> None:
    service.receiver.note(map(str, range(MOST_WAITING)))
    service.receiver.note(["one-more"])
    assert len(service.receiver._waiting) == MOST_WAITING
    service.tool.records["one-more"] = a_record(record_id="one-more")
    running = asyncio.create_task(service.receiver.run())
    await service.until(lambda: any(isinstance(data, ExampleProposed) for data in service.published()))
    running.cancel()


# --- webhooks


class Noted:
    def __init__(self) -> None:
        self.ids: list[list[str]] = []

    def note(self, ids: list[str]) -> None:
        self.ids.append(ids)


def endpoint(tool: Any, noted: Noted | None) -> TestClient:
    made = Endpoint(lambda: cast(Receiver, noted), Sender(tool, SECRET), 10_000, lambda: T0)
    return TestClient(made.app())


def signed(body: bytes, *, at: datetime = T0, secret: bytes = SECRET, message_id: str = "msg_1") -> dict[str, str]:
    time = str(int(at.timestamp()))
    mac = hmac.new(secret, b".".join((message_id.encode(), time.encode(), body)), "sha256").digest()
    signature = f"v1,{base64.b64encode(b'another').decode()} v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": time, "webhook-signature": signature}


def test_argillas_webhook_gives_an_id_and_only_with_a_good_signature_of_now() -> None:
    noted = Noted()
    client = endpoint("argilla", noted)
    body = json.dumps(
        {
            "type": "response.created",
            "version": 1,
            "timestamp": "2026-11-24T09:00:00Z",
            "data": {
                "id": "0b1c2d3e-0000-4000-8000-000000000001",
                "record": {"id": RECORD, "fields": {"question": NAME}},
            },
        }
    ).encode()
    assert client.post(PATH, content=body, headers=signed(body)).status_code == 204
    for headers in (
        {},
        signed(body, secret=bytes(32)),
        signed(body + b" "),
        signed(body, at=T0 - timedelta(minutes=6)),
        signed(body, at=T0 + timedelta(minutes=6)),
        {**signed(body), "webhook-id": "msg_2"},
        {**signed(body), "webhook-timestamp": "soon"},
    ):
        answer = client.post(PATH, content=body, headers=headers)
        assert (answer.status_code, answer.content) == (401, b"")
    record = json.dumps({"type": "record.completed", "data": {"id": RECORD, "fields": {}}}).encode()
    client.post(PATH, content=record, headers=signed(record))
    assert noted.ids == [[RECORD], [RECORD]]


async def test_a_stranger_who_sends_no_body_to_its_end_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.sources.curation_tools.routes.BODY_SECONDS", 0.01)
    app = Endpoint(lambda: None, Sender("argilla", SECRET), 10_000, lambda: T0).app()

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tool.test") as client:
        async with asyncio.timeout(5):
            assert (await client.post(PATH, content=endless())).status_code == 408


def test_label_studios_webhook_gives_ids_and_only_with_the_secret_in_its_header() -> None:
    noted = Noted()
    client = endpoint("label-studio", noted)
    good = {"Authorization": f"Bearer {base64.b64encode(SECRET).decode()}"}
    bodies: list[Any] = [
        {
            "action": "ANNOTATION_UPDATED",
            "annotation": {"id": 3, "task": 7, "result": []},
            "task": {"id": 7, "data": {}},
        },
        {"action": "TASKS_CREATED", "task": [{"id": 8}, {"id": 9}]},
        {"action": "ANNOTATION_CREATED"},
    ]
    assert [client.post(PATH, json=body, headers=good).status_code for body in bodies] == [204] * 3
    assert noted.ids == [["7"], ["8", "9"], []]
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Token {base64.b64encode(SECRET).decode()}"},
    ):
        assert client.post(PATH, json=bodies[0], headers=headers).status_code == 401
    assert client.post(PATH, content=b"[1]", headers=good).status_code == 400
    assert client.post(PATH, content=b"{", headers=good).status_code == 400
    assert client.post(PATH, content=b"x" * 10_001, headers=good).status_code == 413
    assert endpoint("label-studio", None).post(PATH, json=bodies[0], headers=good).status_code == 503
    assert len(noted.ids) == 3


# --- what the tools answer


def tool_client(answers: Callable[[httpx.Request], httpx.Response]) -> ToolClient:
    return ToolClient(httpx.AsyncClient(base_url="http://tool", transport=httpx.MockTransport(answers)))


async def test_an_argilla_record_is_read_by_its_id_with_what_was_submitted() -> None:
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.path.endswith("/records"):
            return httpx.Response(200, json={"items": [ARGILLA_RECORD], "total": 1})
        return httpx.Response(200, json=ARGILLA_RECORD)

    argilla = Argilla(tool_client(answers), DATASET, Fields())
    record = await argilla.record(RECORD)
    assert record is not None
    assert (record.answer, record.author, record.consent) == ("No.", "dr-who", "patient-7")
    assert [(one.verdict, one.answer, one.reason_code) for one in record.annotations] == [
        ("approved", "No.", None),
        ("rejected", "", "off-policy"),
    ]
    assert record.updated_at == datetime(2026, 11, 24, 10, 6, tzinfo=UTC)
    assert await argilla.changed(record.updated_at) == [RECORD]
    assert await argilla.changed(record.updated_at + timedelta(seconds=1)) == []
    assert await Argilla(argilla.client, secrets.token_hex(16), Fields()).record(RECORD) is None, "another dataset's"
    before = len(asked)
    assert await argilla.record("../../users") is None
    assert len(asked) == before, "what is no id is not asked for"


def label_studio_task(number: int, minute: int) -> dict[str, Any]:
    at = (T0 + timedelta(minutes=minute)).isoformat()
    return {
        "id": number,
        "project": 5,
        "data": {"question": "Q?", "answer": "A.", "author": "dr-who"},
        "updated_at": at,
        "annotations": [
            {"completed_by": 11, "was_cancelled": True, "updated_at": at, "result": []},
            {
                "completed_by": {"id": 12},
                "was_cancelled": False,
                "updated_at": at,
                "result": [
                    {"from_name": "answer", "type": "textarea", "value": {"text": ["B."]}},
                    {"from_name": "verdict", "type": "choices", "value": {"choices": ["Approve"]}},
                ],
            },
        ],
    }


async def test_a_label_studio_task_is_read_with_what_was_not_skipped_and_listing_ends_at_what_is_older() -> None:
    pages: list[int] = []
    tasks = [label_studio_task(1000 - number, 1000 - number) for number in range(250)]

    def answers(request: httpx.Request) -> httpx.Response:
        if "page" in request.url.params:
            page = int(request.url.params["page"])
            pages.append(page)
            return httpx.Response(200, json={"total": 250, "tasks": tasks[(page - 1) * 100 : page * 100]})
        return httpx.Response(200, json=tasks[0])

    studio = LabelStudio(tool_client(answers), "5", Fields())
    record = await studio.record("1000")
    assert record is not None
    assert [(one.annotator, one.answer, one.verdict) for one in record.annotations] == [("12", "B.", "approved")]
    assert await studio.changed(T0 + timedelta(minutes=850)) == [str(1000 - number) for number in range(151)]
    assert pages == [1, 2]
    assert len(await studio.changed(None)) == 250
    assert await LabelStudio(studio.client, "6", Fields()).record("1000") is None, "another project's"


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (503, b"", ToolUnavailable),
        (429, b"", ToolUnavailable),
        (401, b"", Refused),
        (302, b"", Refused),
        (200, b"<html>", Refused),
        (200, b'{"project": 5}', Refused),
        (200, b'{"project": 5, "id": 1, "data": [], "annotations": [], "updated_at": "x"}', Refused),
    ],
)
async def test_a_tool_that_answers_badly_is_refused_or_asked_again_and_never_quoted(
    status: int, body: bytes, raised: type[Exception]
) -> None:
    studio = LabelStudio(tool_client(lambda _: httpx.Response(status, content=body)), "5", Fields())
    with pytest.raises(raised) as failed:
        await studio.record("1")
    assert body.decode() not in str(failed.value) or not body


@pytest.mark.parametrize("path", ["/api/token/refresh/", "/api/tasks/1/"])
async def test_a_compressed_answer_is_refused_before_a_few_bytes_of_it_become_gigabytes(path: str) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        told = json.dumps({**STUDIO_TASK, "id": 1, "access": "first"}).encode()
        if request.url.path != path:
            return httpx.Response(200, content=told)
        twice = httpx.ByteStream(gzip.compress(gzip.compress(told)))
        return httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, stream=twice)

    held = ToolClient(tool_client(answers).client, PersonalAccessToken("pat"))
    with pytest.raises(Refused, match="documented shape"):
        await LabelStudio(held, "1", Fields()).record("1")


# As Label Studio 1.23.2 answered GET /api/tasks/2/, without the fields that nothing reads.
STUDIO_TASK: dict[str, Any] = {
    "id": 2,
    "annotations": [
        {
            "id": 1,
            "result": [
                {"from_name": "verdict", "to_name": "question", "type": "choices", "value": {"choices": ["approve"]}}
            ],
            "completed_by": {"id": 1, "first_name": "", "last_name": "", "email": "a@example.org", "initials": "a@"},
            "was_cancelled": False,
            "created_at": "2026-11-30T06:07:41.141043Z",
            "updated_at": "2026-11-30T06:07:41.141080Z",
            "task": 2,
            "project": 1,
        }
    ],
    "drafts": [],
    "updated_by": [{"user_id": 1}],
    "data": {"question": "Q2?", "answer": "A2."},
    "meta": {},
    "created_at": "2026-11-30T06:07:40.226338Z",
    "updated_at": "2026-11-30T06:07:41.394959Z",
    "project": 1,
}


async def test_a_personal_access_token_gives_access_tokens_and_a_stale_one_is_renewed_once() -> None:
    refreshed: list[Any] = []
    valid = ["first"]

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ls/api/token/refresh/":
            refreshed.append(json.loads(request.content))
            return httpx.Response(200, json={"access": valid[0]})
        if request.headers.get("authorization") != f"Bearer {valid[0]}":
            return httpx.Response(401, json={"detail": "Token is invalid"})
        return httpx.Response(200, json=STUDIO_TASK)

    transport = httpx.MockTransport(answers)
    client = httpx.AsyncClient(base_url="http://tool/ls", transport=transport)
    studio = LabelStudio(ToolClient(client, PersonalAccessToken("pat")), "1", Fields())
    record = await studio.record("2")
    assert record is not None
    assert [(one.annotator, one.verdict) for one in record.annotations] == [("1", "approved")]
    await studio.record("2")
    assert refreshed == [{"refresh": "pat"}]
    valid[0] = "second"
    assert await studio.record("2") == record
    assert len(refreshed) == 2
