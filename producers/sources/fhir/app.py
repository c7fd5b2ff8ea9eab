"""Wires the FHIR source: ``python -m producers.sources.fhir.app``."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from producers.sources.fhir.mapping import FhirMapping, read_mapping
from producers.sources.fhir.positions import Positions
from producers.sources.fhir.receiving import Receiver
from producers.sources.fhir.routes import TAKE_SECONDS, Endpoint
from producers.sources.fhir.server import FhirServer
from producers.sources.fhir.settings import FhirSettings
from producers.sources.fhir.smart import BackendService, Key, read_client_key
from producers.sources.proposing import ProposerKeys
from tenancy.bootstrap import event_signer
from tenancy.errors import Refused
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.secret_files import read_secret
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.redaction.standard import standard_gate
from tenancy.service.background_server import Beside, run_server
from tenancy.service.health import health_app
from tenancy.service.telemetry import configure_logging, configure_telemetry

SERVICE = "fhir"
SOURCE = "/sanolith/fhir"
CONNECTIONS = 64
REQUEST_SECONDS = 10.0
"""So long the server may leave a request without an answer."""


@dataclass
class FhirSource:
    """The process: what it was told, and what runs behind its routes."""

    settings: FhirSettings
    keys: ProposerKeys
    mapping: FhirMapping
    positions: Positions
    client_key: Key | None
    bearer: str
    receiver: Receiver | None = None
    publisher: KafkaPublisher | None = None

    @classmethod
    def of(cls, settings: FhirSettings) -> FhirSource:
        """Raises :class:`Refused` for a file that is not what it should be."""
        keys = ProposerKeys.of(settings)
        key = settings.fhir_client_key_file
        return cls(
            settings,
            keys,
            read_mapping(settings.fhir_mapping_file),
            Positions(settings.fhir_position_file),
            read_client_key(key) if key else None,
            _bearer(settings),
        )

    def endpoint(self) -> Endpoint:
        return Endpoint(lambda: self.receiver, self.bearer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self.settings
        gate = await asyncio.to_thread(standard_gate)
        async with (
            httpx.AsyncClient(timeout=REQUEST_SECONDS, follow_redirects=False) as client,
            KafkaPublisher(settings.kafka_client(), event_signer(settings)) as publisher,
        ):
            base = settings.fhir_base_url.rstrip("/")
            authorization = None
            if settings.fhir_client_id and self.client_key is not None:
                authorization = BackendService(
                    client, base, settings.fhir_client_id, self.client_key, settings.fhir_scope, settings.fhir_token_url
                )
            proposer = self.keys.proposer(gate, publisher, SOURCE)
            server = FhirServer(client, base, authorization)
            self.publisher = publisher
            self.receiver = Receiver(proposer, self.mapping, server, self.positions)
            try:
                yield
            finally:
                self.receiver = None

    async def is_ready(self) -> bool:
        """Whether what a notification holds could be published now."""
        return self.receiver is not None and self.publisher is not None and await self.publisher.answers()


def _bearer(settings: FhirSettings) -> str:
    path = settings.fhir_token_file
    how = "; make one with `openssl rand -base64 32`, and chmod 600 it"
    if not path.is_file():
        raise Refused("no-notification-token", f"refused: SANO_FHIR_TOKEN_FILE names no file{how}")
    return base64.b64encode(read_secret(path, "notification-token", how)).decode()


def main() -> None:
    settings = loaded_or_exit(FhirSettings)
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    try:
        with refusal_exits():
            source = FhirSource.of(settings)
        health = health_app(telemetry, lambda: True, source.is_ready)
        run_server(
            source.endpoint().app,
            source.running,
            host=settings.fhir_host,
            port=settings.fhir_port,
            graceful_seconds=int(TAKE_SECONDS) + 5,
            connections=CONNECTIONS,
            beside=Beside(health, settings.health_host, settings.health_port),
        )
    finally:
        telemetry.flush()


if __name__ == "__main__":
    main()
