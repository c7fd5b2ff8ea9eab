"""Wires the HL7 v2 source: ``python -m producers.sources.mllp.app``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from producers.sources.mllp.conversations import Codes
from producers.sources.mllp.listener import Listener
from producers.sources.mllp.settings import MllpSettings
from producers.sources.mllp.taking import taking
from producers.sources.proposing import ProposerKeys
from tenancy.bootstrap import event_signer
from tenancy.errors import Refused
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.redaction.standard import standard_gate
from tenancy.service.background_server import run_server
from tenancy.service.health import health_app
from tenancy.service.telemetry import configure_logging, configure_telemetry

SERVICE = "hl7"
SOURCE = "/sanolith/hl7"


def tls_context(settings: MllpSettings) -> ssl.SSLContext | None:
    """TLS in which both sides show a certificate; None where none is set. Raises :class:`Refused`."""
    if settings.hl7_tls_certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.hl7_tls_certificate_file, settings.hl7_tls_key_file)
        context.load_verify_locations(settings.hl7_tls_client_ca_file)
    except OSError:  # SSLError is one
        why = "refused: the files of SANO_HL7_TLS_… are not a certificate, its key and the clients' authority"
        raise Refused("bad-settings", why) from None
    return context


@dataclass
class Hl7Source:
    """The process: what it was told, and the listener that runs behind its health routes."""

    settings: MllpSettings
    keys: ProposerKeys
    tls: ssl.SSLContext | None
    publisher: KafkaPublisher | None = None
    port: int = 0

    @classmethod
    def of(cls, settings: MllpSettings) -> Hl7Source:
        """Raises :class:`Refused` for a file that is not what it should be."""
        return cls(settings, ProposerKeys.of(settings), tls_context(settings))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen; at the end answer what is in hand. Whatever has no answer comes again."""
        settings = self.settings
        gate = await asyncio.to_thread(standard_gate)
        async with KafkaPublisher(settings.kafka_client(), event_signer(settings)) as publisher:
            proposer = self.keys.proposer(gate, publisher, SOURCE)
            codes = Codes(settings.hl7_question_code, settings.hl7_answer_code)
            listener = Listener(taking(proposer, codes))
            async with listener.listening(settings.hl7_host, settings.hl7_port, self.tls) as self.port:
                self.publisher = publisher
                try:
                    yield
                finally:
                    self.publisher = None

    async def is_ready(self) -> bool:
        """Whether it listens, and what a message holds could be published now."""
        return self.publisher is not None and await self.publisher.answers()


def main() -> None:
    settings = loaded_or_exit(MllpSettings)
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    try:
        with refusal_exits():
            source = Hl7Source.of(settings)
        run_server(
            lambda lifespan: health_app(telemetry, lambda: True, source.is_ready, lifespan),
            source.running,
            host=settings.health_host,
            port=settings.health_port,
        )
    finally:
        telemetry.flush()


if __name__ == "__main__":
    main()
