"""Wiring of the ledger."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.ledger import handlers
from consumers.ledger.settings import LedgerSettings
from consumers.runtime.dispatch import Handler
from consumers.runtime.service import only_tenancy, serve
from schemas import events

HANDLERS: Mapping[type[events.EventData], Handler] = {events.UsageRecorded: handlers.on_usage_recorded}


def main() -> None:
    serve(
        "ledger",
        settings=LedgerSettings(),
        topics=(events.USAGE, events.OUTCOMES, events.KNOWLEDGE),
        handlers=HANDLERS,
        ports=only_tenancy,
    )


if __name__ == "__main__":
    main()
