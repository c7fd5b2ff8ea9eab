"""Wires the curation consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumers.curation import handlers
from consumers.curation.proposals import RUN_OF_TEXTS, on_example_proposed, on_examples_proposed
from consumers.curation.rescans import RescanReconciler
from consumers.curation.returns import on_example_returned
from consumers.curation.reviews import on_example_reviewed
from consumers.curation.runs import on_consents_granted, on_examples_approved
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.runs import InRuns
from consumers.runtime.service import serve
from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.share import Share
from schemas.bus import events
from tenancy.bootstrap import Tenancy
from tenancy.platform.settings import loaded_or_exit
from tenancy.redaction.at_first_use import AtFirstUse, GateSource
from tenancy.redaction.standard import standard_gate
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.rounds import TICK_SECONDS


def handlers_with(gate: GateSource) -> Handlers[Tenancy]:
    """Map each event that curation handles to its handler; ``gate`` judges proposed texts."""
    return dict(
        [
            on(events.ExampleProposed, InRuns(on_example_proposed(gate), on_examples_proposed(gate), RUN_OF_TEXTS)),
            on(events.ExampleReviewed, on_example_reviewed),
            on(events.ExampleApproved, InRuns(handlers.on_example_approved, on_examples_approved)),
            on(events.ExampleRejected, handlers.on_example_rejected),
            on(events.ExampleReturned, on_example_returned),
            on(events.ExampleWithdrawn, handlers.on_example_withdrawn),
            on(events.ConsentGranted, InRuns(handlers.on_consent_granted, on_consents_granted)),
            on(events.ConsentRevoked, handlers.on_consent_revoked),
        ]
    )


HANDLERS = handlers_with(AtFirstUse(standard_gate))


def main() -> None:
    settings = loaded_or_exit(ConsumerSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[Tenancy, Sequence[Periodic]]]:
        driver = RescanReconciler(tenancy, settings.quiesce_seconds, settings.handler_deadline_seconds, owns=share.owns)
        searching = Periodic("missed identifiers", settings.reconcile_seconds, driver.reconcile, at_once=LOOKS)
        sweeping = Periodic("missed identifiers round", TICK_SECONDS, driver.sweep)
        yield tenancy, (searching, sweeping)

    serve("curation", settings=settings, topics=(events.CURATION,), handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
