"""The FHIR source as a process, on a bus and beside a server: what it accepted is on the bus, and unreadable."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.ports import LOOPBACK
from schemas.bus.content import ExampleContent
from schemas.bus.events import CURATION
from tenancy.storage.keys import TenantKeys
from tenancy.tenant_id import TenantId
from tests.integration.source_process import BOUND_SECONDS, SourceProcess, bus_in
from tests.unit.fhir_parts import Json, message
from tests.unit.fhir_server_parts import notification

NAME, NUMBER = "Lorna Whitcombe", "5520417"


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    with bus_in(tmp_path) as bootstrap_servers:
        yield bootstrap_servers


@contextmanager
def served(resources: dict[str, Json]) -> Iterator[str]:
    """A server that has these resources, and finds nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.removeprefix("/fhir/").partition("?")
            found = {"resourceType": "Bundle", "type": "searchset"} if query else resources.get(path)
            body = json.dumps(found).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}/fhir"
    finally:
        server.shutdown()
        server.server_close()


async def test_what_the_process_accepted_is_on_the_bus_and_says_nothing_of_the_patient(
    bus: str, tmp_path: Path
) -> None:
    source = SourceProcess("producers.sources.fhir.app", tmp_path, bus)
    secret = source.secret("token")
    question = message("q1", f"May {NAME}, MRN {NUMBER}, have ibuprofen?", "asker")
    resources = {"Communication/q1": question, "Communication/a1": message("a1", "No.", "expert", answers="q1")}
    with served(resources) as base:
        process = source.start(
            SANO_FHIR_BASE_URL=base,
            SANO_FHIR_TOKEN_FILE=str(tmp_path / "token"),
            SANO_FHIR_POSITION_FILE=str(tmp_path / "positions.json"),
            SANO_FHIR_PORT=str(source.port),
        )
        try:
            async with httpx.AsyncClient(timeout=BOUND_SECONDS, trust_env=False) as client:
                answer = await client.post(
                    f"http://{LOOPBACK}:{source.port}/fhir/notifications",
                    json=notification({1: ["Communication/a1"]}),
                    headers={"Authorization": f"Bearer {secret}"},
                )
        finally:
            process.terminate()
            assert process.wait(BOUND_SECONDS) == 0
    assert answer.status_code == 200, answer.text
    consumer = AIOKafkaConsumer(CURATION, bootstrap_servers=bus, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert (record.key, dict(record.headers)["ce_type"]) == (b"t1", b"sano.example.proposed")
    whole = f"{record.value!r}{record.headers!r}{source.log.read_text()}{answer.text}"
    assert all(trace not in whole for trace in (NAME, NUMBER, "Whitcombe", "ibuprofen", "Communication/"))
    keys = TenantKeys(TenantId("t1"), bytes(32), source.key, source.key)
    opened = keys.decrypt_inline(json.loads(record.value)["content"]["reference"]["jwe"], ExampleContent)
    assert NAME not in opened.messages[0].content
    assert NUMBER not in opened.messages[0].content
    assert "ibuprofen" in opened.messages[0].content
    assert json.loads((tmp_path / "positions.json").read_text()) == {"sub-1": 1}
