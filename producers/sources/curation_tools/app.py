"""Wires the curation tools' source: ``python -m producers.sources.curation_tools.app``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from opentelemetry import metrics

from producers.sources.curation_tools.argilla import Argilla
from producers.sources.curation_tools.fields import Fields
from producers.sources.curation_tools.http_client import PersonalAccessToken, ToolClient
from producers.sources.curation_tools.label_studio import LabelStudio
from producers.sources.curation_tools.receiver import Receiver
from producers.sources.curation_tools.records import Tool
from producers.sources.curation_tools.routes import Endpoint
from producers.sources.curation_tools.settings import CurationToolSettings
from producers.sources.curation_tools.webhooks import Sender
from producers.sources.proposing import ProposerKeys
from tenancy.bootstrap import event_signer
from tenancy.errors import Refused
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.given_files import read_given
from tenancy.platform.secret_files import read_secret
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.redaction.standard import standard_gate
from tenancy.service.background_server import Beside, run_server
from tenancy.service.health import health_app
from tenancy.service.metrics import CURATION_TOOL_RECORDS
from tenancy.service.telemetry import configure_logging, configure_telemetry

SERVICE = "curation-tools"
SOURCE = "/sanolith/curation-tools"
REQUEST_SECONDS = 30.0
"""So long the tool may take to answer."""


@dataclass
class CurationToolSource:
    """The process: what it was told, and what runs behind its routes."""

    settings: CurationToolSettings
    keys: ProposerKeys
    counter: metrics.Counter
    sender: Sender
    token: str
    receiver: Receiver | None = None
    publisher: KafkaPublisher | None = None
    running_receiver: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: CurationToolSettings, counter: metrics.Counter) -> CurationToolSource:
        """Raises :class:`Refused` for a file that is not what it should be."""
        keys = ProposerKeys.of(settings)
        how = "; make one with `openssl rand -base64 32`, and chmod 600 it"
        if not settings.curation_secret_file.is_file():
            raise Refused("no-webhook-secret", f"refused: SANO_CURATION_SECRET_FILE names no file{how}")
        sender = Sender(settings.curation_tool, read_secret(settings.curation_secret_file, "webhook-secret", how))
        return cls(settings, keys, counter, sender, _token(settings.curation_token_file))

    def tool(self, client: httpx.AsyncClient) -> Tool:
        settings = self.settings
        fields = Fields(
            question=settings.curation_question_field,
            answer=settings.curation_answer_field,
            author=settings.curation_author_field,
            consent=settings.curation_consent_field,
            verdict=settings.curation_verdict_field,
            reason=settings.curation_reason_field,
            approve=settings.curation_approve_value,
            reject=settings.curation_reject_value,
        )
        if settings.curation_tool == "label-studio":
            return LabelStudio(ToolClient(client, PersonalAccessToken(self.token)), settings.curation_project, fields)
        return Argilla(ToolClient(client), settings.curation_project, fields)

    def client(self) -> httpx.AsyncClient:
        settings = self.settings
        is_argilla = settings.curation_tool == "argilla"
        return httpx.AsyncClient(
            base_url=settings.curation_url.rstrip("/"),
            headers={"X-Argilla-Api-Key": self.token} if is_argilla else {},
            timeout=REQUEST_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )

    def endpoint(self) -> Endpoint:
        return Endpoint(lambda: self.receiver, self.sender)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self.settings
        gate = await asyncio.to_thread(standard_gate)
        async with (
            self.client() as client,
            KafkaPublisher(settings.kafka_client(), event_signer(settings)) as publisher,
        ):
            proposer = self.keys.proposer(gate, publisher, SOURCE)
            receiver = Receiver(
                self.tool(client),
                proposer,
                settings.curation_position_file,
                settings.curation_reconcile_seconds,
                self.counter,
            )
            self.publisher, self.receiver = publisher, receiver
            self.running_receiver = asyncio.create_task(receiver.run())
            try:
                yield
            finally:
                self.receiver = None
                self.running_receiver.cancel()
                await asyncio.gather(self.running_receiver, return_exceptions=True)

    def is_alive(self) -> bool:
        return self.running_receiver is None or not self.running_receiver.done()

    async def is_ready(self) -> bool:
        """Whether the tool answered the last question, and the bus answers now."""
        receiver, publisher = self.receiver, self.publisher
        return receiver is not None and receiver.is_ready and publisher is not None and await publisher.answers()


def _token(path: Path) -> str:
    token = read_given(path, "no-tool-token", "").decode(errors="replace").strip()
    if not token.isascii() or not token.isprintable() or not token:
        raise Refused("bad-tool-token", f"refused: {path} holds no token")
    return token


def main() -> None:
    settings = loaded_or_exit(CurationToolSettings)
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    counter = CURATION_TOOL_RECORDS.of(telemetry.meter)
    try:
        with refusal_exits():
            source = CurationToolSource.of(settings, counter)
        run_server(
            source.endpoint().app,
            source.running,
            host=settings.curation_host,
            port=settings.curation_port,
            graceful_seconds=5,
            beside=Beside(
                health_app(telemetry, source.is_alive, source.is_ready), settings.health_host, settings.health_port
            ),
        )
    finally:
        telemetry.flush()


if __name__ == "__main__":
    main()
