"""Wires the review page: ``python -m producers.review_page.app``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from producers.review_page.identity_provider import IdentityProvider
from producers.review_page.links import AUDIENCE, Links
from producers.review_page.page import Page
from producers.review_page.people import Limits
from producers.review_page.rates import Rates
from producers.review_page.settings import ReviewPageSettings
from producers.review_page.web import build
from producers.settings import VerificationSettings
from producers.sources.source_key import SourceKey
from tenancy.bootstrap import open_tenancy, trust
from tenancy.platform.clock import utc_now
from tenancy.platform.settings import loaded, loaded_or_exit, refusal_exits
from tenancy.redaction.at_first_use import AtFirstUse
from tenancy.redaction.standard import standard_gate
from tenancy.service.background_server import Beside, run_server
from tenancy.service.health import health_app
from tenancy.service.telemetry import configure_logging, configure_telemetry
from tenancy.tokens import TokenVerifier

SERVICE = "review"
CONNECTIONS = 256
REQUESTS_PER_MINUTE = 240
"""From one person."""
SIGN_INS_PER_MINUTE = 30
"""From one address, or through one proxy."""


def page_of(settings: ReviewPageSettings, key: SourceKey) -> Page:
    """Raises :class:`~tenancy.errors.Refused` for wrong settings."""
    trusted, of_ledger = trust(settings), loaded(VerificationSettings)
    return Page(
        limits=Limits(settings.review_idle_seconds, settings.review_session_seconds),
        people=Rates(REQUESTS_PER_MINUTE, time.monotonic),
        strangers=Rates(SIGN_INS_PER_MINUTE, time.monotonic),
        clock=utc_now,
        deadline_seconds=settings.handler_deadline_seconds,
        verifier=trusted,
        sign_seconds=of_ledger.audit_checkpoint_seconds,
        key=key,
        gate=AtFirstUse(standard_gate),
        links=Links(TokenVerifier(trusted, audience=AUDIENCE)) if settings.review_links == "allowed" else None,
        provider=provider_of(settings, key),
    )


def provider_of(settings: ReviewPageSettings, key: SourceKey) -> IdentityProvider | None:
    """The identity provider that the settings name; its three settings are all set, or none is."""
    issuer, client, secret = (
        settings.review_oidc_issuer,
        settings.review_oidc_client_id,
        settings.review_oidc_client_secret,
    )
    if issuer is None or client is None or secret is None:
        return None
    return IdentityProvider(
        issuer=issuer,
        client_id=client,
        client_secret=secret.get_secret_value(),
        tenant_claim=settings.review_oidc_tenant_claim,
        role_claim=settings.review_oidc_role_claim,
        url=settings.review_url,
        key=key,
        author_claim=settings.review_oidc_author_claim,
        scope=settings.review_oidc_scope,
    )


def main() -> None:
    settings = loaded_or_exit(ReviewPageSettings)
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    with refusal_exits():
        key = SourceKey.read(settings.source_key_file)
        page = page_of(settings, key)

    @asynccontextmanager
    async def connected() -> AsyncIterator[None]:
        async with open_tenancy(settings, SERVICE) as tenancy:
            page.held.append(tenancy)
            try:
                yield
            finally:
                page.held.clear()

    async def is_ready() -> bool:
        return bool(page.held) and await page.tenancy.publisher.answers()

    try:
        run_server(
            lambda lifespan: build(page, settings.review_url, key.secret("review-sessions"), lifespan),
            connected,
            host=settings.review_host,
            port=settings.review_port,
            graceful_seconds=10,
            connections=CONNECTIONS,
            beside=Beside(health_app(telemetry, lambda: True, is_ready), settings.health_host, settings.health_port),
        )
    finally:
        telemetry.flush()


if __name__ == "__main__":
    main()
