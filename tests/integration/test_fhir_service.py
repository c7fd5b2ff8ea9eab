"""The FHIR source as a process, on a bus and beside a server: what it accepted is on the bus, and unreadable."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import LOOPBACK
from tests.fixtures.hospital import FHIR, beside, focused, leaked, questionnaire, threads, transcript
from tests.integration.source_process import BOUND_SECONDS, SourceProcess, beside_a_bus
from tests.unit.fhir_parts import Json
from tests.unit.fhir_server_parts import notification


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceProcess]:
    with beside_a_bus("producers.sources.fhir.app", tmp_path) as made:
        yield made


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
    source: SourceProcess, tmp_path: Path
) -> None:
    secret = source.secret("token")
    held: dict[str, Json] = {}
    focus: list[str] = []
    for system, made in zip(FHIR, (threads, questionnaire, transcript), strict=True):
        told = made(system.patient)
        held |= {f"{one['resourceType']}/{one['id']}": one for one in (*beside(system.patient, told), *told)}
        focus += focused(told, system.patient)
    with served(held) as base:
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
                    json=notification({number: [name] for number, name in enumerate(focus, 1)}),
                    headers={"Authorization": f"Bearer {secret}"},
                )
        finally:
            process.terminate()
            assert process.wait(BOUND_SECONDS) == 0
    assert answer.status_code == 200, answer.text
    published = await source.published()
    assert len(published) == len(focus)
    types = Counter(dict(message.headers)["ce_type"] for message in published)
    assert types == {b"sano.consent.granted": len(FHIR), b"sano.example.proposed": sum(one.examples() for one in FHIR)}
    assert {message.key for message in published} == {b"t1"}
    places = source.places(published) | {"answer": answer.text}
    assert leaked(places.items(), *FHIR) == set()
    as_they_are = [said for place, said in places.items() if not place.endswith("decrypted")]
    assert all(trace not in said for said in as_they_are for trace in ("Pacemaker", "Communication/"))
    assert any("Pacemaker" in said for said in places.values())
    assert json.loads((tmp_path / "positions.json").read_text()) == {"sub-1": len(focus)}
