"""The programs for direct publishers, run as they are against Apache Kafka: they publish signed events.

One test, since a broker takes longer to start than all of them together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local.fetched import fetch_once
from deploy.local.kafka import KafkaCluster
from deploy.local.settings import LocalSettings
from inference.api.public_keys import PublicKeys
from inference.tenants.binding import TenantStateCache
from schemas.bus import events
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Event, decode
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import SpeaksFor
from tenancy.evidence.event_signatures import EventVerifier
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.trust import Trust
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import entry
from tests.unit.operator_parts import Parts, onboarded_parts

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples" / "publishers"
TENANT = TenantId("t-publishers")
SECONDS = 240
BY_TOOLS: tuple[events.EventData, ...] = (
    events.ConsentGranted(consent_id="consent-tools", version=2),
    events.ConsentRevoked(consent_id="consent-tools", version=3),
    events.ExampleRejected(example_id="ex-tools", version=1, reviewer_id="rev-1", reason_code="off-policy"),
    events.ExampleWithdrawn(example_id="ex-java", reason_code="patient-request"),
)
"""What has no content. The first is of a type that the other programs publish too."""


@pytest.fixture
def needs_yq_and_jq() -> None:
    if missing := [name for name in ("yq", "jq") if shutil.which(name) is None]:
        pytest.skip(f"NO {' AND NO '.join(missing).upper()}: install them (Debian: apt-get install jq yq)")


@contextmanager
def served(body: bytes) -> Iterator[str]:
    """A key set at an address, as a replica serves it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tenants/{TENANT}/jwks.json"
    finally:
        server.shutdown()
        server.server_close()


@asynccontextmanager
async def topic(bootstrap: str) -> AsyncIterator[None]:
    """The topic of curation; where this made it, it is gone afterwards: other tests make their own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        is_ours = events.CURATION not in await admin.list_topics()
        if is_ours:
            await admin.create_topics([NewTopic(events.CURATION, num_partitions=1, replication_factor=1)])
        yield
        if is_ours:
            await admin.delete_topics([events.CURATION])
            async with asyncio.timeout(30):
                while events.CURATION in await admin.list_topics():
                    await asyncio.sleep(0.2)
    finally:
        await admin.close()


OPTIONS = ("asyncapi", "bootstrap", "jwks-url", "thumbprint", "tenant", "source", "key", "kid", "salt-key")


async def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said.decode()


async def published(bootstrap: str, count: int) -> list[tuple[Event, bytes | None, Any]]:
    consumer = AIOKafkaConsumer(events.CURATION, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found: list[tuple[Event, bytes | None, Any]] = []
    async with consumer, asyncio.timeout(60):
        async for record in consumer:
            if record.key == TENANT.encode():
                found.append((decode(record.key, record.value, record.headers), record.value, record.headers))
            if len(found) == count:
                return found
    raise AssertionError("the consumer ended")


def example_file(folder: Path, name: str) -> Path:
    file = folder / f"{name}.json"
    turns = [
        {"role": "user", "content": "May [PATIENT-1] have it — 5 µg?"},
        {"role": "assistant", "content": f"No, {name}."},
    ]
    file.write_text(
        json.dumps(
            {
                "example_id": f"ex-{name}",
                "version": 3,
                "consent_id": "consent-7",
                "messages": turns,
                "redaction": {"gate": "sano", "version": "2026.11", "counts": [{"kind": "PERSON", "count": 1}]},
            }
        )
    )
    return file


def jars_of(pom: Path) -> Path:
    """What a pom names, fetched once."""

    def fetch(folder: Path) -> None:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True, timeout=SECONDS, capture_output=True)

    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    return fetch_once(LocalSettings().cache_dir / f"publishers-{digest}", fetch)


@pytest.mark.usefixtures("needs_yq_and_jq")
async def test_what_the_example_programs_publish_is_signed_and_opened_by_the_tenant_alone(
    kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    parts: Parts = await onboarded_parts(TENANT)
    keys = await parts.tenancy.keys.open(TENANT)
    private = Ed25519PrivateKey.generate()
    pem, salt = tmp_path / "event.pem", tmp_path / "salt.key"
    pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem.chmod(0o600)
    salt.write_bytes(secrets.token_bytes(32))
    public = LocalKey.read(pem, "test").public_key
    may = SpeaksFor(
        publisher="interface-3",
        tenants=(TENANT,),
        event_types=(events.ConsentGranted.type, events.ExampleProposed.type, *(data.type for data in BY_TOOLS[1:])),
    )
    verifier = EventVerifier(Trust.of(entry(public, Purpose.EVENT, speaks_for=may)))
    bootstrap = kafka_cluster.bootstrap_servers
    jwks = await PublicKeys().jwks(TenantStateCache(parts.tenancy, 1.0), TENANT)

    async with topic(bootstrap):
        with served(json.dumps(jwks).encode()) as url:
            options: list[str | Path] = [
                *("--asyncapi", ROOT / "schemas" / "golden" / "asyncapi.yaml", "--bootstrap", bootstrap),
                *("--jwks-url", url, "--thumbprint", keys.thumbprint(), "--tenant", TENANT, "--source", "/ehr/3"),
                *("--key", pem, "--kid", public.key_id, "--salt-key", salt),
            ]
            python, java = example_file(tmp_path, "python"), example_file(tmp_path, "java")
            program = EXAMPLES / "java" / "Publish.java"
            jars = await asyncio.to_thread(jars_of, EXAMPLES / "java" / "pom.xml")
            await asyncio.gather(
                run(sys.executable, EXAMPLES / "publish.py", *options, python),
                run("java", "-cp", f"{jars}/*", program, *options, java),
            )
            await run(sys.executable, EXAMPLES / "publish.py", *options, python)
        tools = await asyncio.to_thread(jars_of, ROOT / "tests" / "fixtures" / "kafka-tools-pom.xml")
        producer = tmp_path / "kafka-console-producer.sh"
        main = "org.apache.kafka.tools.ConsoleProducer"
        producer.write_text(f"#!/bin/sh\nexec java -Xmx256m -cp '{tools}/*' {main} \"$@\"\n")
        producer.chmod(0o700)
        told = {"TENANT": TENANT, "SOURCE": "/ehr/3", "KEY": str(pem), "KID": public.key_id, "BOOTSTRAP": bootstrap}
        told |= {"PRODUCER": str(producer), "ASYNCAPI": str(ROOT / "schemas" / "golden" / "asyncapi.yaml")}
        for data in BY_TOOLS:
            name, fields = data.type.removeprefix("sano."), data.model_dump_json(exclude_none=True)
            await run(EXAMPLES / "publish.sh", name, fields, env=told)
        found = await published(bootstrap, 6 + len(BY_TOOLS))

    for event, value, headers in found:
        assert verifier.publisher(event, value, headers, appended_at=datetime.now(UTC)) == may
    proposals = {
        event.data.example_id: event.data for event, _, _ in found if isinstance(event.data, events.ExampleProposed)
    }
    assert proposals.keys() == {"ex-python", "ex-java"}
    for name, data in proposals.items():
        content = keys.decrypt_inline(data.content.reference.jwe, ExampleContent)
        assert content.messages[0].content == "May [PATIENT-1] have it — 5 µg?"
        assert content.messages[1].content == f"No, {name.removeprefix('ex-')}."
        assert content.commitment() == data.content.commitment
    again = [event.data.content.commitment for event, _, _ in found if isinstance(event.data, events.ExampleProposed)]
    assert len(again) == 3 and len(set(again)) == 2, "the same example again is the same event with the same commitment"
    assert len({event.id for event, _, _ in found}) == 3 + len(BY_TOOLS)
    assert [event.data for event, _, _ in found][-len(BY_TOOLS) :] == list(BY_TOOLS)


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("example.dropped", '{"example_id": "ex-1"}'),
        ("example.withdrawn", '{"example_id": "ex-1"}'),
        ("example.withdrawn", '{"example_id": "ex-1", "reason_code": "wish", "text": "in clear"}'),
        ("example.withdrawn", '{"example_id": "ex-1", "reason_code": "In words."}'),
        ("consent.granted", '{"consent_id": "consent-7", "version": "1"}'),
        ("consent.granted", '{"consent_id": "consent-7", "version": 0}'),
    ],
)
@pytest.mark.usefixtures("needs_yq_and_jq")
def test_the_tools_refuse_what_is_not_in_the_contract(message: str, data: str) -> None:
    told = dict.fromkeys(("TENANT", "SOURCE", "KEY", "KID", "BOOTSTRAP"), "unused")
    told |= {"PRODUCER": "false", "ASYNCAPI": str(ROOT / "schemas" / "golden" / "asyncapi.yaml")}
    script = EXAMPLES / "publish.sh"
    ended = subprocess.run([script, message, data], env={**os.environ, **told}, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
    assert ended.stderr.startswith(b"refused: ")


def test_a_thumbprint_that_begins_with_a_dash_is_a_value(tmp_path: Path) -> None:
    options = [word for name in OPTIONS for word in (f"--{name}", "-missing")]
    told = subprocess.run(
        [sys.executable, EXAMPLES / "publish.py", *options, tmp_path / "none.json"], capture_output=True, check=False
    )
    assert told.returncode == 1
    assert b"FileNotFoundError" in told.stderr, "it has read its options"
