"""The curation tools' source as a process, on a bus and beside a tool: what it read there is on the bus, unreadable
and without an identifier of any class."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.ports import LOOPBACK
from producers.sources.curation_tools.http_client import ToolClient
from producers.sources.curation_tools.routes import PATH
from tests.fixtures.hospital import SYSTEMS, argilla, leaked
from tests.integration.source_process import BOUND_SECONDS, SourceProcess, beside_a_bus

TOKEN = "token-of-the-tool"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceProcess]:
    with beside_a_bus("producers.sources.curation_tools.app", tmp_path) as made:
        yield made


@contextmanager
def served(answers: dict[str, Any]) -> Iterator[str]:
    """A tool that has these answers by path, for who has its token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers["X-Argilla-Api-Key"] == TOKEN
            found = answers.get(self.path.partition("?")[0]) if is_known else None
            body = json.dumps(found).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def webhook(secret: str, record: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one that says, with all that the tool knows of it, that a record changed."""
    body = json.dumps({"type": "record.updated", "version": 1, "data": record}).encode()
    at = str(int(time.time()))
    signed = hmac.new(base64.b64decode(secret), b".".join((b"msg-1", at.encode(), body)), "sha256").digest()
    signature = f"v1,{base64.b64encode(signed).decode()}"
    return body, {"webhook-id": "msg-1", "webhook-timestamp": at, "webhook-signature": signature}


async def test_what_the_process_read_is_on_the_bus_and_says_nothing_of_the_patient(
    source: SourceProcess, tmp_path: Path
) -> None:
    [system] = [system for system in SYSTEMS if "Argilla" in system.sources]
    _, answers = argilla(ToolClient(httpx.AsyncClient()), replace(system.patient, at_once=True))
    [record] = [said for said in answers.values() if "id" in said]
    secret = source.secret("webhook")
    (tmp_path / "token").write_text(TOKEN)
    with served(answers) as url:
        process = source.start(
            SANO_CURATION_TOOL="argilla",
            SANO_CURATION_URL=url,
            SANO_CURATION_TOKEN_FILE=str(tmp_path / "token"),
            SANO_CURATION_PROJECT="d1",
            SANO_CURATION_SECRET_FILE=str(tmp_path / "webhook"),
            SANO_CURATION_POSITION_FILE=str(tmp_path / "position"),
            SANO_CURATION_PORT=str(source.port),
        )
        try:
            async with httpx.AsyncClient(timeout=BOUND_SECONDS, trust_env=False) as sender:
                address = f"http://{LOOPBACK}:{source.port}{PATH}"
                body, headers = webhook(secret, record)
                taken = await sender.post(address, content=body, headers=headers)
                strange = await sender.post(address, content=body, headers={"Authorization": "Bearer x"})
        finally:
            process.terminate()
            assert process.wait(BOUND_SECONDS) == 0
    assert (taken.status_code, strange.status_code, taken.content + strange.content) == (204, 401, b"")
    published = await source.published()
    types = Counter(dict(message.headers)["ce_type"] for message in published)
    assert types == {b"sano.consent.granted": 1, b"sano.example.proposed": 1}, "it read what was there when it began"
    places = source.places(published)
    assert leaked(places.items(), system) == set()
    assert any("[BIOMETRIC-1]" in said for place, said in places.items() if place.endswith("decrypted"))
