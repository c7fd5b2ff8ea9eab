"""Wiring of the curation consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from consumers.curation import handlers
from consumers.curation.settings import CurationSettings
from consumers.runtime.dispatch import Handler
from consumers.runtime.periodic import Periodic
from consumers.runtime.service import serve
from schemas import events
from tenancy.bootstrap import Tenancy

HANDLERS: Mapping[type[events.EventData], Handler] = {
    events.ExampleApproved: handlers.on_example_approved,
    events.ExampleRejected: handlers.on_example_rejected,
    events.ExampleWithdrawn: handlers.on_example_withdrawn,
    events.ConsentGranted: handlers.on_consent_granted,
    events.ConsentRevoked: handlers.on_consent_revoked,
}


@asynccontextmanager
async def ports(tenancy: Tenancy) -> AsyncIterator[tuple[Tenancy, Sequence[Periodic]]]:
    yield tenancy, ()


def main() -> None:
    serve("curation", settings=CurationSettings(), topics=(events.CURATION,), handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
