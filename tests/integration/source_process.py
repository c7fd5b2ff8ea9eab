"""A source as a process of one tenant, beside a bus: what every one of them is told, and when it is ready."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from joserfc.jwk import OKPKey

from deploy.local.embedded import start_bus
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.services import PROJECT_ROOT
from producers.operations.topics import apply_topics
from producers.replay.kafka_log import kafka_log
from producers.replay.log import Message
from schemas.bus.content import ExampleContent
from schemas.bus.events import CURATION
from tenancy.storage.keys import TenantKeys
from tenancy.tenant_id import TenantId
from tests.fixtures.otlp_sink import OtlpSink, otlp_sink

BOUND_SECONDS = 120
TENANT = "t1"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}:{os.environ.get('PYTHONPATH', '')}"}


@contextmanager
def bus_in(home: Path) -> Iterator[str]:
    """An embedded bus with our topics; its bootstrap servers."""
    bus = start_bus(home / "bus", home / "bus.log", ENVIRONMENT, tie_to_parent=True)
    try:
        asyncio.run(apply_topics({"bootstrap_servers": bus.bootstrap_servers}))
        yield bus.bootstrap_servers
    finally:
        bus.process.stop()


@dataclass
class SourceProcess:
    """``module`` with a tenant's public key and a source key of its own, in ``home``; both halves are in ``key``.

    It exports its spans and metrics to ``telemetry``.
    """

    module: str
    home: Path
    bootstrap_servers: str
    telemetry: OtlpSink
    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("X25519"))
    port: int = 0
    health: int = 0

    def __post_init__(self) -> None:
        self.port, self.health = free_ports(2)
        (self.home / "jwk.json").write_text(json.dumps(self.key.as_dict(private=False)))
        self.secret("source.key")

    def secret(self, name: str) -> str:
        """A file with 32 random bytes in base64, and what is in it."""
        said = base64.b64encode(os.urandom(32))
        (self.home / name).touch(mode=0o600)
        (self.home / name).write_bytes(said)
        return said.decode()

    async def published(self) -> list[Message]:
        """Everything on the topic of curation."""
        async with kafka_log({"bootstrap_servers": self.bootstrap_servers}) as log:
            return [message async for message in log.messages(await log.ranges([CURATION]))]

    def places(self, messages: Sequence[Message]) -> dict[str, str]:
        """All that it logged, exported and published, by place: messages as they are and with their texts decrypted.
        Of what it exports the last comes when it ends.
        """
        exported = dict(self.telemetry.places("traces") + self.telemetry.places("metrics"))
        places = {"log": self.log.read_text(), **{place: body.decode("latin-1") for place, body in exported.items()}}
        keys = TenantKeys(TenantId(TENANT), bytes(32), self.key, self.key)
        for message in messages:
            places[f"{message.place}"] = f"{message.key!r} {message.value!r} {message.headers!r}"
            data = json.loads(message.value or b"")
            if "content" in data:
                content = keys.decrypt_inline(data["content"]["reference"]["jwe"], ExampleContent)
                places[f"{message.place}, decrypted"] = content.model_dump_json()
        return places

    @property
    def log(self) -> Path:
        return self.home / "log"

    def start(self, **own: str) -> subprocess.Popen[bytes]:
        """The process, once it is ready."""
        environment = {
            **ENVIRONMENT,
            "SANO_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "SANO_SOURCE_TENANT": TENANT,
            "SANO_SOURCE_JWK_FILE": str(self.home / "jwk.json"),
            "SANO_SOURCE_KEY_FILE": str(self.home / "source.key"),
            "SANO_OTLP_ENDPOINT": self.telemetry.url,
            "SANO_HEALTH_PORT": str(self.health),
            **own,
        }
        with self.log.open("ab") as log:
            argv = [sys.executable, "-m", self.module]
            process = subprocess.Popen(argv, env=environment, cwd=self.home, stderr=log)
        bound = time.monotonic() + BOUND_SECONDS
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > bound:
                process.kill()
                raise AssertionError(f"{self.module} is not ready; it ended with {process.wait(BOUND_SECONDS)}")
            time.sleep(0.1)
        return process

    def _is_ready(self) -> bool:
        try:
            url = f"http://{LOOPBACK}:{self.health}/health/ready"
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def beside_a_bus(module: str, home: Path) -> Iterator[SourceProcess]:
    """The source of ``module``, not started yet, and in ``home`` what it needs: a bus and a sink of what it exports."""
    with bus_in(home) as bootstrap_servers, otlp_sink() as telemetry:
        yield SourceProcess(module, home, bootstrap_servers, telemetry)
