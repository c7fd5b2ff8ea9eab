"""`sano up --fhir`: the services it starts, what they are told, and a server that tells the source what changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.fhir_server import Held, Notifying, server
from deploy.local.ports import LOOPBACK
from deploy.local.services import FHIR, FHIR_SERVER, Folders, service_command, service_environment
from deploy.local.stack_file import StackFile
from producers.cli.local_source import source_prepared
from producers.cli.stack import services_of
from producers.operations.trust_admin import TrustDesk, ensure_keys
from producers.sources.fhir.notification import read_notification
from producers.sources.fhir.settings import FhirSettings
from schemas.evidence.trust import ROOT_FILE
from tenancy.evidence.keys import LocalKey
from tests.unit.fhir_parts import DEMO, Json, message
from tests.unit.stack_parts import stack_of

TENANT = "t-demo"
REFUSED = {"severity": "error", "code": "invalid", "diagnostics": "refused: it is no resource"}
MEDIA = {"Content-Type": "application/fhir+json"}


def stack_with_fhir(folders: Folders) -> StackFile:
    return stack_of(
        folders,
        fhir_url="http://127.0.0.1:8071/fhir",
        fhir_notifications_url="http://127.0.0.1:8070/fhir/notifications",
        fhir_tenant=TENANT,
    )


def test_the_source_is_started_beside_its_server_and_the_review_page_only_where_it_is_asked_for() -> None:
    assert {"fhir", "fhir-server"}.isdisjoint(service.name for service in services_of(review=True, fhir=False))
    asked = [service.name for service in services_of(review=True, fhir=True)]
    assert asked[-3:] == ["review", "fhir-server", "fhir"]


def test_the_source_is_told_all_that_its_settings_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = Folders(tmp_path)
    shared = service_environment({}, stack_with_fhir(folders), embedded_store=False)
    environment = service_command(FHIR, 8082, shared, folders).env
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = FhirSettings()
    assert (settings.source_tenant, settings.fhir_port, settings.health_port) == (TENANT, 8070, 8082)
    assert str(settings.fhir_base_url).rstrip("/") == "http://127.0.0.1:8071/fhir"
    beside = service_command(FHIR_SERVER, 8071, shared, folders)
    token = environment["SANO_FHIR_TOKEN_FILE"]
    assert list(beside.argv[3:]) == ["--port", "8071", "--notify-port", "8070", "--token-file", token]
    assert {"SANO_EVENT_KEY", "SANO_SOURCE_KEY_FILE", "SANO_FHIR_TOKEN_FILE"}.isdisjoint(beside.env)


def test_the_source_signs_with_a_key_that_speaks_for_its_tenant_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders(tmp_path)
    ensure_keys(folders.keys)
    stack = stack_with_fhir(folders)

    async def onboarded(tenant: str) -> dict[str, object]:
        return {"kty": "OKP", "for": tenant}

    monkeypatch.setattr("producers.cli.local_source._onboarded", onboarded)
    for _ in range(2):
        source_prepared(TENANT)(stack)
    shared = service_environment({}, stack, embedded_store=False)
    command = service_command(FHIR, 8082, shared, folders)
    key = LocalKey.read(Path(command.env["SANO_EVENT_KEY"]), "event")
    known = TrustDesk(stack.trust_file, LocalKey.read(folders.keys / ROOT_FILE, "root")).file().keys
    [mine] = [one for one in known if one.key_id == key.public_key.key_id]
    assert mine.speaks_for is not None
    assert (mine.speaks_for.publisher, mine.speaks_for.tenants) == ("ehr", (TENANT,))
    assert json.loads(Path(command.env["SANO_SOURCE_JWK_FILE"]).read_text())["for"] == TENANT


@contextmanager
def serving(made: HTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()


@pytest.fixture
def told() -> list[Json]:
    return []


@pytest.fixture
def client(told: list[Json]) -> Iterator[httpx.Client]:
    """Of a server whose source keeps what it is told, refuses Lists and answers 503 to what is about a Basic."""

    class Source(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Authorization"] == "Bearer secret"
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            said = json.dumps(told[-1])
            self.send_response(503 if "Basic/" in said else 200)
            self.end_headers()
            taken = {"severity": "information", "code": "informational"}
            self.wfile.write(json.dumps({"issue": [REFUSED if "List/" in said else taken]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer((LOOPBACK, 0), Source)) as source:
        made = server(0, Held(), Notifying(f"{source}/fhir/notifications", "secret"))
        with serving(made) as base, httpx.Client(base_url=base, headers=MEDIA, trust_env=False) as client:
            yield client


def about(notification: Json) -> dict[int, tuple[str, ...]]:
    return {event.number: event.focus for event in read_notification(notification).events}


def test_a_bundle_that_is_posted_is_read_by_its_ids_and_said_in_one_notification(
    client: httpx.Client, told: list[Json]
) -> None:
    assert client.get("/health/ready").status_code == 200
    sent: dict[str, Any] = json.loads(DEMO.read_text())
    assert client.post("/fhir", content=DEMO.read_bytes()).status_code == 200
    names = [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in sent["entry"]]
    assert about(told[0]) == {number: (name,) for number, name in enumerate(names, 1)}
    assert all(client.get(f"/fhir/{name}").json()["id"] == name.partition("/")[2] for name in names)
    [consent, *_] = [entry["resource"] for entry in sent["entry"] if entry["resource"]["resourceType"] == "Consent"]
    found = client.get("/fhir/Consent", params={"patient": consent["patient"]["reference"]}).json()
    assert consent["id"] in [entry["resource"]["id"] for entry in found["entry"]]
    assert client.get("/fhir/Consent", params={"patient": "Patient/nobody"}).json()["entry"] == []


def test_a_change_is_a_later_version_and_the_same_again_is_none(client: httpx.Client) -> None:
    def put(text: str) -> dict[str, str]:
        """What the server says of it, whatever a sender says there."""
        client.put("/fhir/Communication/q1", json=message("q1", text, "asker"))
        meta: dict[str, str] = client.get("/fhir/Communication/q1").json()["meta"]
        return meta

    first, again, changed = put("May I?"), put("May I?"), put("May she?")
    assert again == first
    assert int(changed["versionId"]) > int(first["versionId"]) == 1
    assert datetime.fromisoformat(changed["lastUpdated"]) > datetime.fromisoformat(first["lastUpdated"])


def test_what_the_source_did_not_take_is_said_and_it_can_ask_again(client: httpx.Client, told: list[Json]) -> None:
    assert client.post("/fhir", json={"resourceType": "Basic", "id": "p"}).status_code == 502
    assert client.put("/fhir/Communication/q1", json=message("q1", "May I?", "asker")).status_code == 200
    asked = {"eventsSinceNumber": "1", "eventsUntilNumber": "1", "content": "id-only"}
    earlier = client.get("/fhir/Subscription/local/$events", params=asked)
    assert about(earlier.json()) == {1: ("Basic/p",)}
    assert about(told[1]) == {2: ("Communication/q1",)}


def test_what_the_source_refused_of_what_it_took_is_said_to_who_sent_it(client: httpx.Client) -> None:
    answer = client.post("/fhir", json={"resourceType": "List", "id": "l"})
    assert (answer.status_code, answer.json()["issue"][1:]) == (200, [REFUSED])
    assert len(client.put("/fhir/Communication/q1", json=message("q1", "May I?", "asker")).json()["issue"]) == 1


def test_what_is_deleted_is_gone_and_said_and_what_is_no_resource_is_refused(
    client: httpx.Client, told: list[Json]
) -> None:
    client.post("/fhir", json=message("q1", "May I?", "asker"))
    assert client.delete("/fhir/Communication/q1").status_code == 200
    assert client.get("/fhir/Communication/q1").status_code == 410
    gone, last = client.get("/fhir/Communication/q1/_history").json()["entry"]
    assert (gone["request"]["method"], last["resource"]["id"]) == ("DELETE", "q1")
    assert client.get("/fhir/Communication/q2/_history").status_code == 404
    assert about(told[1]) == {2: ("Communication/q1",)}
    assert client.get("/fhir/Communication/q2").status_code == 404
    for body, media in (("[1]", MEDIA), ("{", MEDIA), ('{"resourceType": "Patient"}', {"Content-Type": "text/plain"})):
        assert client.post("/fhir", content=body, headers=media).status_code == 400
    assert len(told) == 2
