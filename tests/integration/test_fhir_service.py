"""The FHIR source as a process, on a bus and beside a server: what it accepted is on the bus, and unreadable."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from joserfc.jwk import OKPKey

from deploy.local.embedded import EmbeddedBus, start_bus
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.services import PROJECT_ROOT
from producers.operations.topics import apply_topics
from schemas.bus.content import ExampleContent
from schemas.bus.events import CURATION
from tenancy.storage.keys import TenantKeys
from tenancy.tenant_id import TenantId
from tests.unit.fhir_parts import Json, message
from tests.unit.fhir_server_parts import notification

BOUND_SECONDS = 120
NAME, NUMBER = "Lorna Whitcombe", "5520417"


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBus]:
    home = tmp_path_factory.mktemp("bus")
    bus = start_bus(home / "data", home / "bus.log", dict(os.environ), tie_to_parent=True)
    yield bus
    bus.process.stop()


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


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/health/ready", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def running(environment: dict[str, str], health: int, home: Path, log: IO[bytes]) -> Iterator[None]:
    """The process, from when it is ready until it has ended as it should."""
    argv = [sys.executable, "-m", "producers.sources.fhir.app"]
    process = subprocess.Popen(argv, env=environment, cwd=home, stderr=log)
    try:
        bound = time.monotonic() + BOUND_SECONDS
        while not is_ready(health):
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < bound, "it is not ready"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        assert process.wait(BOUND_SECONDS) == 0


async def test_what_the_process_accepted_is_on_the_bus_and_says_nothing_of_the_patient(
    bus: EmbeddedBus, tmp_path: Path
) -> None:
    await apply_topics({"bootstrap_servers": bus.bootstrap_servers})
    key = OKPKey.generate_key("X25519")
    (tmp_path / "jwk.json").write_text(json.dumps(key.as_dict(private=False)))
    secret = base64.b64encode(os.urandom(32))
    for name in ("source.key", "token"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(secret)
    question = message("q1", f"May {NAME}, MRN {NUMBER}, have ibuprofen?", "asker")
    resources = {"Communication/q1": question, "Communication/a1": message("a1", "No.", "expert", answers="q1")}
    port, health = free_ports(2)
    log = tmp_path / "log"
    with served(resources) as base, log.open("wb") as written:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{PROJECT_ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "SANO_KAFKA_BOOTSTRAP_SERVERS": bus.bootstrap_servers,
            "SANO_SOURCE_TENANT": "t1",
            "SANO_SOURCE_JWK_FILE": str(tmp_path / "jwk.json"),
            "SANO_SOURCE_KEY_FILE": str(tmp_path / "source.key"),
            "SANO_FHIR_BASE_URL": base,
            "SANO_FHIR_TOKEN_FILE": str(tmp_path / "token"),
            "SANO_FHIR_POSITION_FILE": str(tmp_path / "positions.json"),
            "SANO_FHIR_PORT": str(port),
            "SANO_HEALTH_PORT": str(health),
        }
        with running(environment, health, tmp_path, written):
            async with httpx.AsyncClient(timeout=BOUND_SECONDS, trust_env=False) as client:
                answer = await client.post(
                    f"http://{LOOPBACK}:{port}/fhir/notifications",
                    json=notification({1: ["Communication/a1"]}),
                    headers={"Authorization": f"Bearer {secret.decode()}"},
                )
    assert answer.status_code == 200, answer.text
    consumer = AIOKafkaConsumer(CURATION, bootstrap_servers=bus.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert (record.key, dict(record.headers)["ce_type"]) == (b"t1", b"sano.example.proposed")
    whole = f"{record.value!r}{record.headers!r}{log.read_text()}{answer.text}"
    assert all(trace not in whole for trace in (NAME, NUMBER, "Whitcombe", "ibuprofen", "Communication/"))
    keys = TenantKeys(TenantId("t1"), bytes(32), key, key)
    opened = keys.decrypt_inline(json.loads(record.value)["content"]["reference"]["jwe"], ExampleContent)
    assert NAME not in opened.messages[0].content
    assert NUMBER not in opened.messages[0].content
    assert "ibuprofen" in opened.messages[0].content
    assert json.loads((tmp_path / "positions.json").read_text()) == {"sub-1": 1}
