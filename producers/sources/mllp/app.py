"""Wiring of the HL7 v2 source: ``python -m producers.sources.mllp.app``."""

from __future__ import annotations

import asyncio
import signal
import ssl

from producers.sources.mllp.conversations import Codes, candidate_of
from producers.sources.mllp.listener import Limits, Listener, Take
from producers.sources.mllp.message import Message
from producers.sources.mllp.settings import MllpSettings
from producers.sources.proposing import Proposer, read_public_key
from producers.sources.source_key import SourceKey
from schemas.bus.events import ExampleProposed
from tenancy.bootstrap import event_signer
from tenancy.bus import KafkaPublisher
from tenancy.errors import Refused
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.redaction.standard import standard_gate
from tenancy.service.telemetry import configure_logging
from tenancy.tenant_id import TenantId

SOURCE = "/sanolith/hl7"


def taking(proposer: Proposer, codes: Codes) -> Take:
    """Propose what a message holds, if it holds a conversation."""

    async def take(message: Message) -> ExampleProposed | None:
        candidate = candidate_of(message, codes, proposer.key, proposer.tenant)
        return None if candidate is None else await proposer.propose("hl7", candidate)

    return take


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


async def run(settings: MllpSettings) -> None:
    """Listen until SIGTERM or SIGINT; then answer what is in hand. Whatever has no answer comes again."""
    tenant = TenantId(settings.source_tenant)
    key, source_key = read_public_key(settings.source_jwk_file), SourceKey.read(settings.source_key_file)
    limits = Limits(
        message_bytes=settings.hl7_message_bytes,
        connections=settings.hl7_connections,
        idle_seconds=settings.hl7_idle_seconds,
        stop_seconds=settings.hl7_stop_seconds,
    )
    tls, gate = tls_context(settings), standard_gate()
    stopped = asyncio.Event()
    for asked in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(asked, stopped.set)
    async with KafkaPublisher(settings.kafka_client(), event_signer(settings)) as publisher:
        proposer = Proposer(tenant, key, source_key, gate, publisher, SOURCE)
        codes = Codes(settings.hl7_question_code, settings.hl7_answer_code)
        async with Listener(taking(proposer, codes), limits).listening(settings.hl7_host, settings.hl7_port, tls):
            await stopped.wait()


def main() -> None:
    settings = loaded_or_exit(MllpSettings)
    configure_logging("hl7")
    with refusal_exits():
        asyncio.run(run(settings))


if __name__ == "__main__":
    main()
